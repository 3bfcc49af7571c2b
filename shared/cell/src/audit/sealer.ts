import { Counter, Gauge, type Logger, type Registry as Metrics } from "@cell/http";
import { inTransaction, type Registry } from "@cell/postgres";
import { TenantWorker } from "../workers/tenant-worker.ts";
import { ended, type SealKeys } from "./seal.ts";
import type { SealLog } from "./seal-log.ts";
import { continueTrail, isUnsealed, type Sealing, sealFinished, TrailFault } from "./sealing.ts";

export interface SealerOptions {
  registry: Pick<Registry, "owner" | "list" | "mayWrite" | "refresh" | "tenant" | "tenantsWhere" | "version">;
  keys: SealKeys;
  sealLog: SealLog;
  log: Logger;
}

const everyMs = 1_000;
const everyTenantMs = 60_000;
/** Entries of an earlier process have waited already: this process serves its first requests first. */
const firstPollMs = 3_000;
/** Entries that wait longer than this are a fault. */
const lateAfterMs = 60_000;

/** A tenant with writes since its last seal. */
interface Waiting {
  sinceMs: number;
  /** Why its trail, or an entry of it, cannot be sealed; names no tenant. */
  fault?: string | undefined;
}

const beyond = "an entry claims a transaction of the future";

/** Seals the audit trails: every second, the entries of the tenants' finished transactions. Writers do not wait for it. */
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
    help: "Age of the oldest entry that is not sealed",
    registers: [],
    collect: (): void => this.#lag.set(this.#lagSeconds()),
  });
  readonly #lastSeal = new Gauge({
    name: "cell_audit_last_seal_timestamp_seconds",
    help: "When this process last made a seal, in seconds since 1970; 0 before the first one",
    registers: [],
  });
  readonly #faulty: Gauge = new Gauge({
    name: "cell_audit_faulty_tenants",
    help: "Tenants whose trail, or an entry of it, cannot be sealed until a person has looked at it",
    registers: [],
    collect: (): void => this.#faulty.set([...this.#waiting.values()].filter(({ fault }) => fault !== undefined).length),
  });
  /** Total number of entries ever inserted into each trail as of the last check, by schema. */
  #inserted: ReadonlyMap<string, string> | undefined;
  #worker: TenantWorker | undefined;

  constructor(options: SealerOptions) {
    this.#options = options;
  }

  /** Registers the sealing metrics. */
  register(metrics: Metrics): void {
    for (const metric of [this.#failures, this.#lag, this.#lastSeal, this.#faulty]) metrics.registerMetric<string>(metric);
  }

  /** What delays sealing, one sentence each without a tenant's name; empty if there is no problem. */
  problems(): string[] {
    const waiting = [...this.#waiting.values()];
    const faults = Map.groupBy(waiting, ({ fault }) => fault);
    const sentences = [...faults].flatMap(([fault, of]) =>
      fault === undefined
        ? []
        : [`The audit trails of ${of.length === 1 ? "1 tenant" : `${of.length} tenants`} cannot be sealed: ${fault}.`],
    );
    const lag = this.#lagSeconds();
    return lag * 1_000 > lateAfterMs
      ? [...sentences, `Audit entries have been waiting for their seals for ${Math.floor(lag)} seconds.`]
      : sentences;
  }

  /** Announces that a tenant's trail has grown. */
  readonly wake = (tenantId: string): void => {
    this.#noteGrowth(tenantId);
    this.#worker?.wake(tenantId);
  };

  #noteGrowth(tenantId: string): void {
    if (!this.#waiting.has(tenantId)) this.#waiting.set(tenantId, { sinceMs: performance.now() });
  }

  /** Begins to seal the announced trails, and those that other processes left. */
  start(): void {
    const { registry, log } = this.#options;
    this.#worker = new TenantWorker({
      name: "audit seals",
      registry,
      log,
      concurrency: 1,
      coalesceMs: everyMs,
      pollMs: everyTenantMs,
      firstPollMs,
      backoff: { firstMs: everyMs, maxMs: everyTenantMs },
      finishesPending: true,
      findTenants: () => this.#findGrown(),
      run: async ({ tenantId }) => ((await this.seal(tenantId)) ? undefined : everyMs),
      onFailure: () => this.#failures.inc(),
      onSkip: (tenantId) => this.#waiting.delete(tenantId),
    });
    for (const tenantId of this.#waiting.keys()) this.#worker.wake(tenantId);
    this.#worker.start();
  }

  /** Seals the remaining entries, as far as possible, and ends. */
  async stop(): Promise<void> {
    await this.#worker?.stop();
  }

  /**
   * Seals the entries of a tenant's finished transactions. Resolves to whether nothing remains, which an older running transaction may
   * prevent. Rejects with the database's error, or if the trail does not continue the last seal.
   */
  async seal(tenantId: string): Promise<boolean> {
    const { keys, registry, sealLog } = this.#options;
    const startedMs = performance.now();
    const waiting = this.#waiting.get(tenantId) ?? { sinceMs: startedMs };
    // Removed first: a write from here on wakes the sealer again.
    this.#waiting.delete(tenantId);
    try {
      for (;;) {
        const sealing = await inTransaction(
          registry.owner,
          async (client): Promise<Sealing> =>
            // A tenant that is being moved is sealed where it is served next.
            (await registry.mayWrite(client, tenantId))
              ? sealFinished(client, { keys, witness: sealLog }, tenantId)
              : { notices: [], full: false, left: false },
        );
        if (sealing.notices.length > 0) {
          await sealLog.add(sealing.notices);
          this.#lastSeal.setToCurrentTime();
        }
        if (sealing.full) continue;
        if (sealing.left) this.#keepWaiting(tenantId, waiting, sealing);
        return !sealing.left;
      }
    } catch (error) {
      const fault = error instanceof TrailFault ? error.message : undefined;
      this.#waiting.set(tenantId, { sinceMs: waiting.sinceMs, fault });
      throw error;
    }
  }

  /** Keeps the tenant waiting for its remaining entries, since the oldest of them was written. */
  #keepWaiting(tenantId: string, before: Waiting, { oldestLeftAt, isBeyond }: Sealing): void {
    const agoMs = oldestLeftAt === undefined ? Number.NaN : Date.now() - Date.parse(oldestLeftAt);
    const sinceMs = Number.isNaN(agoMs) ? before.sinceMs : performance.now() - Math.max(0, agoMs);
    const fault = isBeyond ? beyond : undefined;
    if (fault !== undefined && before.fault !== fault) {
      this.#failures.inc();
      this.#options.log.error({ tenantId }, `the audit trail could not be sealed to its end: ${fault}`);
    }
    this.#waiting.set(tenantId, { sinceMs, fault });
  }

  /**
   * Continues a trail that was copied here from another database server, whose transaction ids differ. Called once, before the tenant is
   * written to. Rejects with the database's error, or if the copy does not continue the last seal.
   */
  async adopt(tenantId: string): Promise<void> {
    const { keys, registry, sealLog } = this.#options;
    await sealLog.add(await inTransaction(registry.owner, (client) => continueTrail(client, { keys, witness: sealLog }, tenantId)));
  }

  /** Publishes that the trail of a dropped tenant has ended: a new tenant with its id is then not taken for a tampered trail. */
  async end(tenantId: string): Promise<void> {
    const { keys, sealLog } = this.#options;
    const head = await sealLog.head(tenantId);
    if (head) await sealLog.end(ended(tenantId, head, keys));
  }

  /**
   * Finds trails with entries of other processes, or of one that died before it sealed. After the first time it reads only statistics: no
   * tenant's tables are touched.
   */
  async #findGrown(): Promise<string[]> {
    const { registry } = this.#options;
    const { rows } = await registry.owner.query<{ schema: string; inserted: string }>(
      `select nspname as schema, pg_stat_get_tuples_inserted(c.oid)::text as inserted
       from pg_class c join pg_namespace n on n.oid = c.relnamespace where relname = 'audit_logs' and relkind = 'r'`,
    );
    const inserted = new Map(rows.map((row) => [row.schema, row.inserted]));
    const before = this.#inserted;
    const grown = before
      ? (await registry.list()).flatMap(({ tenantId, schema }) => (inserted.get(schema) === before.get(schema) ? [] : tenantId))
      : await registry.tenantsWhere(isUnsealed, { once: true });
    this.#inserted = inserted;
    for (const tenantId of grown) this.#noteGrowth(tenantId);
    return grown;
  }

  #lagSeconds(): number {
    const now = performance.now();
    return [...this.#waiting.values()].reduce((most, { sinceMs }) => Math.max(most, (now - sinceMs) / 1000), 0);
  }
}
