import { setTimeout as sleep } from "node:timers/promises";
import { type Parameters, statement, type TenantDb, tenantTables } from "@cell/postgres";
import { Problem } from "@cell/problem";
import { sql } from "kysely";
import { type EntryText, entryJson, isBefore, type Position, type Seal } from "./seal.ts";

interface TrailTables {
  auditLogs: object;
  auditSeals: StoredSeal;
}

interface StoredSeal {
  seal: number;
  fromTransaction: string;
  fromSeq: string;
  toTransaction: string;
  toSeq: string;
  transactionOffset: string;
  seqs: string[];
  hashes: Buffer;
  previousRoot: Buffer;
  root: Buffer;
  keyId: string;
  signature: Buffer;
  sealedAt: string;
}

const tables = tenantTables<TrailTables>();
/** No other read of the tenant waits for one of the trail. */
const long = { long: true };

/** Limits of one read: rows, and bytes of stored entries or of seals' leaves. */
const entriesPerRead = 500;
const storedBytesPerRead = 256 * 1024;
const sealsPerRead = 64;
const leavesPerRead = 4_000;
const unsealedPerRead = 10_000;

const asText = (column: string) => sql<string>`${sql.ref(column)}::text`;
const place = sql`(transaction_id, seq)`;
const at = (p: Parameters<Position>) => sql`(${p.transaction}::bigint, ${p.seq}::bigint)`;

/** Before every entry. */
export const beginning: Position = { transaction: "-9223372036854775808", seq: "-9223372036854775808" };

const lastSeal = statement(
  (_: Parameters<object>) =>
    tables
      .selectFrom("auditSeals")
      .select(["seal", "sealedAt", asText("toTransaction").as("transaction"), asText("toSeq").as("seq")])
      .select(asText("transactionOffset").as("transactionOffset"))
      .orderBy("seal", "desc")
      .limit(sql.lit(1)),
  long,
);

const nextSeals = statement(
  (p: Parameters<{ after: number; last: number }>) =>
    tables
      .selectFrom((db) =>
        db
          .selectFrom("auditSeals")
          .selectAll()
          .select(sql<number>`sum(cardinality(seqs)) over (order by seal rows between unbounded preceding and 1 preceding)`.as("before"))
          .where("seal", ">", p.after)
          .where("seal", "<=", p.last)
          .orderBy("seal")
          .limit(sql.lit(sealsPerRead))
          .as("step"),
      )
      .select(["seal", "hashes", "previousRoot", "root", "keyId", "signature", "sealedAt", sql<string[]>`seqs::text[]`.as("seqs")])
      .select([asText("fromTransaction").as("fromTransaction"), asText("fromSeq").as("fromSeq")])
      .select([asText("toTransaction").as("toTransaction"), asText("toSeq").as("toSeq")])
      .select(asText("transactionOffset").as("transactionOffset"))
      .where(sql<boolean>`coalesce(before, 0) < ${sql.lit(leavesPerRead)}`)
      .orderBy("seal"),
  long,
);

const entriesBehind = statement(
  (p: Parameters<Position & { endTransaction: string; endSeq: string }>) =>
    tables
      .selectFrom((db) =>
        db
          .selectFrom("auditLogs")
          .selectAll()
          // As it is stored: nothing is read from the TOAST table for it.
          .select(
            sql<number>`sum(pg_column_size(changes)) over (order by transaction_id, seq rows between unbounded preceding and 1 preceding)`.as(
              "before",
            ),
          )
          .where(sql<boolean>`${place} > ${at(p)}`)
          .where(sql<boolean>`${place} < (${p.endTransaction}::bigint, ${p.endSeq}::bigint)`)
          .orderBy(sql`transaction_id`)
          .orderBy(sql`seq`)
          .limit(sql.lit(entriesPerRead))
          .as("step"),
      )
      .select(sql<string | null>`string_agg(${entryJson}, E'\\n' order by transaction_id, seq)`.as("entries"))
      .where(sql<boolean>`coalesce(before, 0) < ${sql.lit(storedBytesPerRead)}`),
  long,
);

const entryBySeq = statement((p: Parameters<{ seq: string }>) =>
  tables.selectFrom("auditLogs").select(sql<string>`id::text`.as("id")).where(sql<boolean>`seq = ${p.seq}::bigint`),
);

const unsealedFrom = statement(
  (p: Parameters<Position & { transactionOffset: string }>) =>
    tables
      .selectFrom((db) =>
        db
          .selectFrom("auditLogs")
          .select([sql<string>`transaction_id`.as("transactionId"), sql<string>`seq`.as("seq"), sql<string>`occurred_at`.as("occurredAt")])
          .where(sql<boolean>`${place} >= ${at(p)}`)
          .orderBy(sql`transaction_id`)
          .orderBy(sql`seq`)
          .limit(sql.lit(unsealedPerRead))
          .as("step"),
      )
      .select([
        sql<number>`count(*)`.as("count"),
        sql<string | null>`min(occurred_at)`.as("oldest"),
        sql<string | null>`max(occurred_at)`.as("newest"),
      ])
      .select([
        sql<string | null>`(array_agg(seq::text order by occurred_at, seq))[1]`.as("oldestSeq"),
        sql<string | null>`(array_agg(seq::text order by occurred_at desc, seq))[1]`.as("newestSeq"),
        sql<string | null>`(array_agg(seq::text order by transaction_id desc, seq desc))[1]`.as("lastSeq"),
        sql<string | null>`max(transaction_id)::text`.as("lastTransaction"),
        // The ids of all transactions that this statement can see are below this.
        sql<string>`(pg_snapshot_xmax(pg_current_snapshot())::text::bigint + ${p.transactionOffset}::bigint)::text`.as("horizon"),
      ])
      .select((eb) =>
        eb
          .selectFrom("auditSeals")
          .select(({ fn }) => fn.max("seal").as("seal"))
          .as("seal"),
      ),
  long,
);

/** The last seal of a trail, as far as needed to know what it covers. */
export interface LastSeal {
  seal: number;
  sealedAt: string;
  to: Position;
  transactionOffset: string;
}

/** The entries that are not sealed yet. */
export interface Unsealed {
  count: number;
  oldestAt: string | null;
  /** The number of the first entry that is overdue for sealing; null if there is none. */
  overdueSeq: string | null;
  /** The last seal at the time of this read. */
  seal: number;
}

/** Reads a tenant's audit trail in short steps that hold no connection between them. */
export class TrailReader {
  readonly #tenant: TenantDb;

  constructor(tenant: TenantDb) {
    this.#tenant = tenant;
  }

  async lastSeal(): Promise<LastSeal | undefined> {
    const found = await patiently(() => this.#tenant.first(lastSeal, {}));
    return found && { ...found, to: { transaction: found.transaction, seq: found.seq } };
  }

  /** The next seals after one, up to the last. */
  async seals(after: number, last: number): Promise<Seal[]> {
    const rows = await patiently(() => this.#tenant.query(nextSeals, { after, last }));
    return rows.map(({ fromTransaction, fromSeq, toTransaction, toSeq, ...rest }) => ({
      ...rest,
      tenantId: this.#tenant.tenantId,
      from: { transaction: fromTransaction, seq: fromSeq },
      to: { transaction: toTransaction, seq: toSeq },
    }));
  }

  /** The next entries after one position and before another, each as `entryJson`; empty at the end. */
  async entries(behind: Position, before: Position): Promise<Buffer[]> {
    const values = { ...behind, endTransaction: before.transaction, endSeq: before.seq };
    const { raw } = await patiently(() => this.#tenant.rows(entriesBehind, values));
    const bytes = raw[0]?.bytesOf(0);
    return bytes ? linesOf(bytes) : [];
  }

  /** The id of the entry with this number, at any position. */
  async idOf(seq: string): Promise<string | undefined> {
    return (await patiently(() => this.#tenant.first(entryBySeq, { seq })))?.id;
  }

  /**
   * The unsealed entries from a position on. An entry is overdue if it is older than `afterMs`, or claims a time or a transaction of the
   * future.
   */
  async unsealed(from: Position, transactionOffset: string, afterMs: number): Promise<Unsealed> {
    const result: Unsealed = { count: 0, oldestAt: null, overdueSeq: null, seal: 0 };
    for (let position = from; ; ) {
      const step = await patiently(() => this.#tenant.first(unsealedFrom, { ...position, transactionOffset }));
      if (!step) throw new Error("an aggregate without a row");
      result.count += step.count;
      result.seal = step.seal ?? 0;
      if (isDate(step.oldest) && (result.oldestAt === null || step.oldest < result.oldestAt)) result.oldestAt = step.oldest;
      result.overdueSeq ??= overdueOf(step, afterMs);
      if (step.count < unsealedPerRead || step.lastTransaction === null || step.lastSeq === null) return result;
      position = { transaction: step.lastTransaction, seq: (BigInt(step.lastSeq) + 1n).toString() };
    }
  }
}

interface UnsealedStep {
  oldest: string | null;
  newest: string | null;
  oldestSeq: string | null;
  newestSeq: string | null;
  lastSeq: string | null;
  lastTransaction: string | null;
  horizon: string;
}

function overdueOf(
  { oldest, newest, oldestSeq, newestSeq, lastSeq, lastTransaction, horizon }: UnsealedStep,
  afterMs: number,
): string | null {
  if (lastTransaction !== null && BigInt(lastTransaction) >= BigInt(horizon)) return lastSeq;
  if (oldest === null || newest === null) return null;
  const now = Date.now();
  // Negated, because infinity is not a date.
  if (!(Date.parse(oldest) >= now - afterMs)) return oldestSeq;
  return Date.parse(newest) <= now + afterMs ? null : newestSeq;
}

function isDate(time: string | null): time is string {
  return time !== null && !Number.isNaN(Date.parse(time));
}

/** The sealed entries in order, each as its JSON text; read on demand. */
export class Entries {
  readonly #reader: TrailReader;
  readonly #before: Position;
  #lines: Buffer[] = [];
  #index = 0;
  #behind: Position;
  #ended = false;

  /** The entries after one position and before another. */
  constructor(reader: TrailReader, behind: Position, before: Position) {
    this.#reader = reader;
    this.#behind = behind;
    this.#before = before;
  }

  /** The next entry if it has been read already; `read` fetches it. */
  get next(): Buffer | undefined {
    return this.#lines[this.#index];
  }

  /** Resolves to the next entry; undefined at the end. */
  async read(): Promise<Buffer | undefined> {
    if (this.next || this.#ended) return this.next;
    this.#lines = await this.#reader.entries(this.#behind, this.#before);
    this.#index = 0;
    const last = this.#lines.at(-1);
    if (last) this.#behind = positionOf(last);
    else this.#ended = true;
    return this.next;
  }

  /** Moves on to the entry after it. */
  skip(): void {
    this.#index++;
  }
}

/** The position of an entry, from the beginning of its JSON text. */
export function positionOf(json: Buffer): Position {
  const [, seq, transaction] = /^\["(-?\d+)","(-?\d+)"/.exec(json.toString("latin1", 0, 50)) ?? [];
  if (seq === undefined || transaction === undefined) throw new Error("an entry without its position");
  return { transaction, seq };
}

export function isEntryBefore(json: Buffer, position: Position): boolean {
  return isBefore(positionOf(json), position);
}

export function parseEntry(json: Buffer): EntryText {
  return JSON.parse(json.toString()) as EntryText;
}

function linesOf(bytes: Buffer): Buffer[] {
  const lines: Buffer[] = [];
  for (let start = 0; start <= bytes.length; ) {
    const end = bytes.indexOf(0x0a, start);
    lines.push(bytes.subarray(start, end < 0 ? bytes.length : end));
    if (end < 0) break;
    start = end + 1;
  }
  return lines;
}

const attempts = 10;
const restMs = 250;

/** Retries a read after transient errors: a long verification must not fail because the tenant is busy. Rejects as the read does. */
export async function patiently<T>(read: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await read();
    } catch (error) {
      const passes = error instanceof Problem && (error.code === "UNAVAILABLE" || error.code === "RATE_LIMITED");
      if (!passes || attempt === attempts) throw error;
      await sleep(restMs);
    }
  }
}
