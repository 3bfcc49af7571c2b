import { Counter, Gauge, type Logger, type Registry as Metrics } from "@cell/http";
import { isConnectionLoss, type Registry, schemaOf } from "@cell/postgres";
import type { PoolClient } from "pg";
import { type Background, repeat } from "./background.ts";
import {
  type EntryText,
  entryTextSql,
  isSigned,
  leafOf,
  origin,
  type Position,
  type Seal,
  type SealKeys,
  type SealNotice,
  sealed,
} from "./seal.ts";
import type { SealLog } from "./seal-log.ts";

export interface SealerOptions {
  registry: Pick<Registry, "owner" | "list">;
  keys: SealKeys;
  sealLog: SealLog;
  log: Logger;
}

const everyMs = 1_000;
const everyTenantMs = 60_000;
const entriesPerSeal = 2_000;
const entriesPerRead = 500;
const sealsPerTransaction = 50;

/** A tenant that was written to since its last seal. */
interface Waiting {
  sinceMs: number;
  notBeforeMs: number;
  failures: number;
}

/** The last seal, as far as the next one builds on it. */
interface Last {
  seal: number;
  to: Position;
  transactionOffset: string;
  root: Buffer;
}

/** Seals the audit trails: every second what the tenants' finished transactions have written. No writer waits for it. */
export class Sealer {
  readonly #options: SealerOptions;
  readonly #waiting = new Map<string, Waiting>();
  readonly #failures = new Counter({
    name: "cell_audit_seal_failures_total",
    help: "Attempts to seal a tenant's trail that failed",
    registers: [],
  });
  readonly #lag: Gauge = new Gauge({
    name: "cell_audit_seal_lag_seconds",
    help: "For how long the longest waiting entry has not been sealed",
    registers: [],
    collect: (): void => this.#lag.set(this.#lagSeconds()),
  });
  #nextPassMs = 0;
  /** How many entries each trail had ever got when this process looked last, by schema. */
  #inserted: ReadonlyMap<string, string> = new Map();
  #background: Background | undefined;

  constructor(options: SealerOptions) {
    this.#options = options;
  }

  /** Shows how far it is behind among a process's metrics. */
  register(metrics: Metrics): void {
    metrics.registerMetric(this.#failures);
    metrics.registerMetric(this.#lag);
  }

  /** Says that a tenant's trail has grown. */
  readonly wake = (tenantId: string): void => {
    if (!this.#waiting.has(tenantId)) this.#waiting.set(tenantId, { sinceMs: Date.now(), notBeforeMs: 0, failures: 0 });
  };

  start(): void {
    this.#background = repeat(everyMs, () => this.#round(), this.#options.log, "sealing");
  }

  /** Ends the rounds and seals what is left, as far as the database lets it. */
  async stop(): Promise<void> {
    await this.#background?.stop();
    for (const waiting of this.#waiting.values()) waiting.notBeforeMs = 0;
    await this.#sealWaiting();
  }

  /**
   * Seals what a tenant's finished transactions have written. Resolves to whether nothing is left, which an older transaction that still
   * runs may hold up. Rejects with the database's error, or when the trail is not the one that was sealed last.
   */
  async seal(tenantId: string): Promise<boolean> {
    const startedMs = Date.now();
    const waiting = this.#waiting.get(tenantId) ?? { sinceMs: startedMs, notBeforeMs: 0, failures: 0 };
    // Taken out first: who writes from here on wakes us again.
    this.#waiting.delete(tenantId);
    try {
      for (;;) {
        const { notices, full, left } = await this.#sealSome(tenantId);
        if (notices.length > 0) await this.#options.sealLog.add(notices);
        if (full) continue;
        if (left) this.#waiting.set(tenantId, { sinceMs: notices.length > 0 ? startedMs : waiting.sinceMs, notBeforeMs: 0, failures: 0 });
        return !left;
      }
    } catch (error) {
      const { sinceMs, failures } = waiting;
      this.#waiting.set(tenantId, {
        sinceMs,
        notBeforeMs: Date.now() + Math.min(everyTenantMs, everyMs * 2 ** failures),
        failures: failures + 1,
      });
      throw error;
    }
  }

  async #round(): Promise<void> {
    if (Date.now() >= this.#nextPassMs) {
      await this.#wakeGrown();
      this.#nextPassMs = Date.now() + everyTenantMs;
    }
    await this.#sealWaiting();
  }

  /** Wakes for what another process wrote, or one that died before it sealed; a look at the statistics, so that no tenant's tables are touched. */
  async #wakeGrown(): Promise<void> {
    const { registry } = this.#options;
    const { rows } = await registry.owner.query<{ schema: string; inserted: string }>(
      `select nspname as schema, pg_stat_get_tuples_inserted(c.oid)::text as inserted
       from pg_class c join pg_namespace n on n.oid = c.relnamespace where relname = 'audit_logs' and relkind = 'r'`,
    );
    const inserted = new Map(rows.map((row) => [row.schema, row.inserted]));
    for (const { tenantId, schema } of await registry.list()) {
      if (inserted.get(schema) !== this.#inserted.get(schema)) this.wake(tenantId);
    }
    this.#inserted = inserted;
  }

  async #sealWaiting(): Promise<void> {
    const { log } = this.#options;
    for (const [tenantId, waiting] of [...this.#waiting]) {
      if (waiting.notBeforeMs > Date.now()) continue;
      try {
        await this.seal(tenantId);
      } catch (err) {
        if (await this.#isGone(tenantId)) continue;
        this.#failures.inc();
        log.error({ tenantId, err }, "the audit trail could not be sealed");
        if (isConnectionLoss(err)) return;
      }
    }
  }

  /** Whether a tenant was dropped while its trail waited. */
  async #isGone(tenantId: string): Promise<boolean> {
    const tenants = await this.#options.registry.list().catch(() => undefined);
    if (!tenants || tenants.some((tenant) => tenant.tenantId === tenantId)) return false;
    this.#waiting.delete(tenantId);
    return true;
  }

  /** One transaction's worth of seals. */
  async #sealSome(tenantId: string): Promise<Round> {
    const { registry } = this.#options;
    const schema = `"${schemaOf(tenantId)}"`;
    const client = await registry.owner.connect();
    try {
      await client.query("begin");
      const lock = await client.query<{ locked: boolean }>("select pg_try_advisory_xact_lock(hashtextextended($1, 0)) as locked", [
        `seal ${schema}`,
      ]);
      const result = lock.rows[0]?.locked ? await this.#sealLocked(client, tenantId, schema) : { notices: [], full: false, left: true };
      await client.query("commit");
      client.release();
      return result;
    } catch (error) {
      client.release(error instanceof Error ? error : true);
      throw error;
    }
  }

  async #sealLocked(client: PoolClient, tenantId: string, schema: string): Promise<Round> {
    const notices: SealNotice[] = [];
    let last = await this.#last(client, tenantId, schema, notices);
    // Every transaction before this has ended, so no entry can appear there any more.
    const horizon = await client.query<{ transaction: string }>(
      "select (pg_snapshot_xmin(pg_current_snapshot())::text::bigint + $1::bigint)::text as transaction",
      [last.transactionOffset],
    );
    const to = { transaction: horizon.rows[0]?.transaction ?? "0", seq: "0" };
    await client.query(`declare entries no scroll cursor for select ${entryTextSql} as entry from ${schema}.audit_logs
      where (transaction_id, seq) >= (${BigInt(last.to.transaction)}, ${BigInt(last.to.seq)}) and transaction_id < ${BigInt(to.transaction)}
      order by transaction_id, seq`);
    let full = true;
    for (let made = 0; full && made < sealsPerTransaction; made++) {
      const chunk = await readChunk(client);
      full = chunk.seqs.length === entriesPerSeal;
      if (chunk.seqs.length === 0) break;
      const seal = this.#next(tenantId, last, full ? chunk.end : to, chunk);
      await insertSeal(client, schema, seal);
      notices.push({ ...seal, entries: seal.seqs.length });
      last = seal;
    }
    const rest = await client.query(`select from ${schema}.audit_logs where (transaction_id, seq) >= ($1, $2) limit 1`, [
      last.to.transaction,
      last.to.seq,
    ]);
    return { notices, full, left: rest.rowCount === 1 };
  }

  #next(tenantId: string, last: Last, to: Position, { seqs, leaves }: Chunk): Seal {
    const { keys } = this.#options;
    const { keyId } = keys;
    const { transactionOffset, root: previousRoot } = last;
    const content = {
      tenantId,
      seal: last.seal + 1,
      from: last.to,
      to,
      transactionOffset,
      seqs,
      hashes: Buffer.from(leaves, "latin1"),
      previousRoot,
      keyId,
    };
    return sealed({ ...content, sealedAt: new Date().toISOString() }, keys);
  }

  /**
   * The seal to build on; one that was not handed out yet joins the notices. Throws an Error when it is not signed by a known key, or when
   * the trail is not the one that was sealed last: then a person has to look.
   */
  async #last(client: PoolClient, tenantId: string, schema: string, notices: SealNotice[]): Promise<Last> {
    const { sealLog } = this.#options;
    const head = await sealLog.head(tenantId);
    const { rows } = await client.query<StoredSeal>(`select ${sealColumns} from ${schema}.audit_seals order by seal desc limit 1`);
    const [row] = rows;
    if (head && (row?.seal ?? 0) < head.seal) throw new Error(`seal ${head.seal} has been removed`);
    if (!row) return { ...origin, transactionOffset: "0" };
    if (!isSigned(row, sealLog.publicKeys)) throw new Error(`seal ${row.seal} is not signed by a known key`);
    if (head) {
      const known = await client.query(`select from ${schema}.audit_seals where seal = $1 and root = $2`, [
        head.seal,
        Buffer.from(head.root, "hex"),
      ]);
      if (known.rowCount === 0) throw new Error(`seal ${head.seal} has been changed`);
    }
    if (row.seal !== head?.seal) notices.push({ ...row, tenantId });
    return {
      seal: row.seal,
      root: row.root,
      transactionOffset: row.transactionOffset,
      to: { transaction: row.toTransaction, seq: row.toSeq },
    };
  }

  #lagSeconds(): number {
    const now = Date.now();
    return [...this.#waiting.values()].reduce((most, { sinceMs }) => Math.max(most, (now - sinceMs) / 1000), 0);
  }
}

const sealColumns = `seal, cardinality(seqs) as entries, sealed_at as "sealedAt", to_transaction::text as "toTransaction", to_seq::text as "toSeq", transaction_offset::text as "transactionOffset", root, key_id as "keyId", signature`;

interface StoredSeal extends Omit<SealNotice, "tenantId"> {
  toTransaction: string;
  toSeq: string;
  transactionOffset: string;
}

/** What one transaction came to. */
interface Round {
  /** Seals to hand out. */
  notices: SealNotice[];
  /** It ended because it was long enough: more can be sealed at once. */
  full: boolean;
  /** Entries are there whose transactions, or others before them, still run. */
  left: boolean;
}

/** The entries of one seal, and the position behind them. */
interface Chunk {
  seqs: string[];
  leaves: string;
  end: Position;
}

async function readChunk(client: PoolClient): Promise<Chunk> {
  const chunk: Chunk = { seqs: [], leaves: "", end: origin.to };
  while (chunk.seqs.length < entriesPerSeal) {
    const { rows } = await client.query<{ entry: EntryText }>(`fetch ${entriesPerRead} from entries`);
    for (const { entry } of rows) {
      const [seq, transaction] = entry;
      chunk.seqs.push(seq);
      chunk.leaves += leafOf(entry);
      chunk.end = { transaction, seq: (BigInt(seq) + 1n).toString() };
    }
    if (rows.length < entriesPerRead) break;
  }
  return chunk;
}

async function insertSeal(client: PoolClient, schema: string, seal: Seal): Promise<void> {
  await client.query(
    `insert into ${schema}.audit_seals (seal, from_transaction, from_seq, to_transaction, to_seq, transaction_offset, seqs, hashes,
      previous_root, root, key_id, signature, sealed_at) values ($1, $2, $3, $4, $5, $6, $7::bigint[], $8, $9, $10, $11, $12, $13)`,
    [
      seal.seal,
      seal.from.transaction,
      seal.from.seq,
      seal.to.transaction,
      seal.to.seq,
      seal.transactionOffset,
      seal.seqs,
      seal.hashes,
      seal.previousRoot,
      seal.root,
      seal.keyId,
      seal.signature,
      seal.sealedAt,
    ],
  );
}
