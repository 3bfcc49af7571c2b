import { Counter, Gauge, type Logger, type Registry as Metrics } from "@cell/http";
import { inTransaction, isConnectionLoss, type Registry } from "@cell/postgres";
import { type Background, repeat } from "./background.ts";
import { ended, type SealKeys } from "./seal.ts";
import type { SealLog } from "./seal-log.ts";
import { continueTrail, isUnsealed, sealFinished } from "./sealing.ts";

export interface SealerOptions {
  registry: Pick<Registry, "owner" | "list" | "mayWrite" | "tenantsWhere">;
  keys: SealKeys;
  sealLog: SealLog;
  log: Logger;
}

const everyMs = 1_000;
const everyTenantMs = 60_000;
/** What an earlier process left has waited already: the first requests to this one go first. */
const firstLookMs = 3_000;

/** A tenant that was written to since its last seal. */
interface Waiting {
  sinceMs: number;
  notBeforeMs: number;
  failures: number;
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
  #inserted: ReadonlyMap<string, string> | undefined;
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
    if (!this.#waiting.has(tenantId)) this.#waiting.set(tenantId, { sinceMs: performance.now(), notBeforeMs: 0, failures: 0 });
  };

  start(): void {
    this.#nextPassMs = performance.now() + firstLookMs;
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
    const { keys, registry, sealLog } = this.#options;
    const startedMs = performance.now();
    const waiting = this.#waiting.get(tenantId) ?? { sinceMs: startedMs, notBeforeMs: 0, failures: 0 };
    // Taken out first: who writes from here on wakes us again.
    this.#waiting.delete(tenantId);
    try {
      for (;;) {
        const { notices, full, left } = await inTransaction(registry.owner, async (client) =>
          // A tenant that is being moved is sealed where it is served next.
          (await registry.mayWrite(client, tenantId))
            ? sealFinished(client, { keys, witness: sealLog }, tenantId)
            : { notices: [], full: false, left: false },
        );
        if (notices.length > 0) await sealLog.add(notices);
        if (full) continue;
        if (left) this.#waiting.set(tenantId, { sinceMs: notices.length > 0 ? startedMs : waiting.sinceMs, notBeforeMs: 0, failures: 0 });
        return !left;
      }
    } catch (error) {
      const { sinceMs, failures } = waiting;
      this.#waiting.set(tenantId, {
        sinceMs,
        notBeforeMs: performance.now() + Math.min(everyTenantMs, everyMs * 2 ** failures),
        failures: failures + 1,
      });
      throw error;
    }
  }

  /**
   * Lets a trail go on that was copied here from another database server, which counted its transactions differently. Called once, before
   * the tenant is written to. Rejects with the database's error, or when the copy is not the trail that was sealed last.
   */
  async adopt(tenantId: string): Promise<void> {
    const { keys, registry, sealLog } = this.#options;
    await sealLog.add(await inTransaction(registry.owner, (client) => continueTrail(client, { keys, witness: sealLog }, tenantId)));
  }

  /** Hands out that the trail of a tenant has ended, which was dropped: what its id is used for next is no trail that was tampered with. */
  async end(tenantId: string): Promise<void> {
    const { keys, sealLog } = this.#options;
    const head = await sealLog.head(tenantId);
    if (head) await sealLog.end(ended(tenantId, head, keys));
  }

  async #round(): Promise<void> {
    if (performance.now() >= this.#nextPassMs) {
      await this.#wakeGrown();
      this.#nextPassMs = performance.now() + everyTenantMs;
    }
    await this.#sealWaiting();
  }

  /** Wakes for what another process wrote, or one that died before it sealed. But for the first time, a look at the statistics: no tenant's tables are touched. */
  async #wakeGrown(): Promise<void> {
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
    for (const tenantId of grown) this.wake(tenantId);
    this.#inserted = inserted;
  }

  async #sealWaiting(): Promise<void> {
    const { log } = this.#options;
    for (const [tenantId, waiting] of [...this.#waiting]) {
      if (waiting.notBeforeMs > performance.now()) continue;
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

  #lagSeconds(): number {
    const now = performance.now();
    return [...this.#waiting.values()].reduce((most, { sinceMs }) => Math.max(most, (now - sinceMs) / 1000), 0);
  }
}
