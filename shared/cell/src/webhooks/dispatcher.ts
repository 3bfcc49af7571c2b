import { Gauge, type Registry as Metrics } from "@cell/http";
import type { Registry, Tenant } from "@cell/postgres";
import { type Backoff, backoffMs } from "../workers/backoff.ts";
import { type RunContext, TenantWorker } from "../workers/tenant-worker.ts";
import * as deliveries from "./delivery-queue.ts";
import { fanOut } from "./outbox.ts";
import * as endpoints from "./repository.ts";
import { Sender, type SenderOptions } from "./sender.ts";

export interface DispatcherOptions extends SenderOptions {
  registry: Pick<Registry, "refresh" | "tenant" | "tenantsWhere" | "version">;
  /** Retention of the delivery log in days. */
  retentionDays: number;
}

const pollMs = 30_000;
const sweepEveryMs = 60 * 60_000;
/** Events written within this time are fanned out together. */
const coalesceMs = 50;
/** Back-off after an older running transaction held up the audit trail. */
const heldUpBackoff: Backoff = { firstMs: 200, maxMs: 2_000 };
/** While a due delivery is unsent, the tenant runs again after this time. */
const overdueMs = 1_000;
const rowsSweptAtOnce = 1_000;

/** A tenant with endpoints. */
interface State {
  /** When its endpoints were announced or found. */
  seenAtMs: number;
  /** Number of consecutive runs in which older transactions held up its entries. */
  heldUp: number;
  /** When the next of its deliveries is due. */
  dueAtMs: number | undefined;
  sweptAtMs: number;
}

/**
 * Turns each tenant's audit trail, which every write has extended in its own transaction, into deliveries and sends them. Only tenants with
 * endpoints run: after writes, when a delivery is due, and every half minute for what other processes did or left.
 */
export class Dispatcher {
  readonly #options: DispatcherOptions;
  readonly #sender: Sender;
  readonly #worker: TenantWorker;
  readonly #tenants = new Map<string, State>();
  readonly #lag: Gauge;

  constructor(options: DispatcherOptions) {
    this.#options = options;
    this.#lag = new Gauge({
      name: `${options.webhooks.catalogue.metricPrefix}_webhook_lag_seconds`,
      help: "For how long the longest waiting delivery has been due",
      registers: [],
      collect: () => this.#lag.set(this.#lagSeconds()),
    });
    this.#sender = new Sender(options, (tenantId, inMs) => {
      if (inMs < pollMs) this.#wake(tenantId, inMs + coalesceMs);
    });
    this.#worker = new TenantWorker({
      name: "webhooks",
      registry: options.registry,
      log: options.log,
      concurrency: 4,
      pollMs,
      findTenants: () => this.#findTenants(),
      run: (tenant, context) => this.#run(tenant, context),
      onSkip: (tenantId) => this.#tenants.delete(tenantId),
    });
  }

  register(metrics: Metrics): void {
    metrics.registerMetric(this.#lag);
    this.#sender.register(metrics);
  }

  /** Begins to poll for work that other processes left. */
  start(): void {
    this.#worker.start();
  }

  /** Announces that a tenant has written something. Costs nothing without endpoints. */
  readonly wake = (tenantId: string): void => this.#wake(tenantId, coalesceMs);

  /** Announces that a tenant's endpoints or deliveries have changed. */
  readonly changed = (tenantId: string): void => {
    this.#note(tenantId);
    this.#wake(tenantId, 0);
  };

  /** Resolves when running attempts have ended; the next start, or another process, continues. */
  async stop(): Promise<void> {
    await this.#worker.stop();
    await this.#sender.stop();
  }

  #wake(tenantId: string, inMs: number): void {
    if (this.#tenants.has(tenantId)) this.#worker.wake(tenantId, inMs);
  }

  #note(tenantId: string): void {
    const seenAtMs = performance.now();
    const state = this.#tenants.get(tenantId);
    if (state) state.seenAtMs = seenAtMs;
    else this.#tenants.set(tenantId, { seenAtMs, heldUp: 0, dueAtMs: undefined, sweptAtMs: Number.NEGATIVE_INFINITY });
  }

  async #findTenants(): Promise<string[]> {
    const askedAtMs = performance.now();
    const found = await this.#options.registry.tenantsWhere(endpoints.hasWebhooks);
    for (const tenantId of found) this.#note(tenantId);
    for (const [tenantId, { seenAtMs }] of this.#tenants) if (seenAtMs < askedAtMs) this.#tenants.delete(tenantId);
    return found;
  }

  async #run(tenant: Tenant, { signal }: RunContext): Promise<number | undefined> {
    const state = this.#tenants.get(tenant.tenantId);
    if (!state) return undefined;
    let isHeldUp = false;
    for (const webhookId of await endpoints.enabled(tenant.reader())) {
      if (signal.aborted) return undefined;
      isHeldUp = (await fanOut(tenant, webhookId, this.#options.webhooks.catalogue)) || isHeldUp;
      await this.#sender.pump(tenant, webhookId);
    }
    state.heldUp = isHeldUp ? state.heldUp + 1 : 0;
    const dueInMs = await deliveries.dueInMs(tenant.reader());
    state.dueAtMs = dueInMs === null ? undefined : performance.now() + dueInMs;
    if (performance.now() - state.sweptAtMs > sweepEveryMs) {
      await this.#sweep(tenant, signal);
      state.sweptAtMs = performance.now();
    }
    const heldUpMs = isHeldUp ? backoffMs(state.heldUp, heldUpBackoff) : pollMs;
    const inMs = Math.min(heldUpMs, dueInMs === null ? pollMs : Math.max(overdueMs, dueInMs));
    return inMs < pollMs ? inMs : undefined;
  }

  async #sweep(tenant: Tenant, signal: AbortSignal): Promise<void> {
    while (!signal.aborted && (await sweepDeliveries(tenant, this.#options.retentionDays)) === rowsSweptAtOnce);
  }

  #lagSeconds(): number {
    const now = performance.now();
    return [...this.#tenants.values()].reduce((most, { dueAtMs }) => Math.max(most, (now - (dueAtMs ?? now)) / 1000), 0);
  }
}

/** Deletes a tenant's old deliveries, and those of deleted endpoints, few at a time. Resolves to their number. */
export function sweepDeliveries(tenant: Tenant, retentionDays: number): Promise<number> {
  return tenant.write(async (session) => {
    await session.begin();
    const swept = await deliveries.sweep(session.tx, retentionDays, rowsSweptAtOnce);
    await session.commit(undefined, [], []);
    return swept;
  });
}
