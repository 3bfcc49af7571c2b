import { type Background, repeat } from "@cell/cell";
import { Gauge, type Registry as Metrics } from "@cell/http";
import type { Registry, Tenant } from "@cell/postgres";
import * as deliveries from "./deliveries.ts";
import { fanOut } from "./outbox.ts";
import * as webhooks from "./repository.ts";
import { Sender, type SenderOptions } from "./sender.ts";

export interface DispatcherOptions extends SenderOptions {
  registry: Pick<Registry, "tenant" | "tenantsWhere" | "version">;
  /** How long the log of deliveries is kept. */
  retentionDays: number;
}

const pollEveryMs = 30_000;
const sweepEveryMs = 60 * 60_000;
const tenantsAtOnce = 4;
/** What is written within this time is walked together. */
const batchMs = 50;
const heldUpMs = { first: 100, most: 2_000 };
/** While something is due that is not sent yet, it is looked at again so soon. */
const overdueMs = 1_000;
const rowsSweptAtOnce = 1_000;

/** A tenant that has endpoints. */
interface State {
  timer: NodeJS.Timeout | undefined;
  /** When the timer fires. */
  atMs: number;
  running: Promise<void> | undefined;
  /** It was woken while it ran. */
  again: boolean;
  /** How often in a row older transactions held up its entries. */
  heldUp: number;
  /** When the next of its deliveries is due. */
  dueAtMs: number | undefined;
  sweptAtMs: number;
}

/**
 * Tells endpoints what has changed: walks each tenant's audit trail, which every write has extended in its own transaction, makes deliveries
 * out of it and sends them. Only tenants with endpoints are looked at: when they write, when something is due, and every half a minute for
 * what other processes did or left.
 */
export class Dispatcher {
  readonly #options: DispatcherOptions;
  readonly #sender: Sender;
  readonly #tenants = new Map<string, State>();
  readonly #ready: string[] = [];
  readonly #lag: Gauge = new Gauge({
    name: "crm_webhook_lag_seconds",
    help: "For how long the longest waiting delivery has been due",
    registers: [],
    collect: (): void => this.#lag.set(this.#lagSeconds()),
  });
  #looking: Background | undefined;
  #running = 0;
  #stopping = false;

  constructor(options: DispatcherOptions) {
    this.#options = options;
    this.#sender = new Sender(options, (tenantId, inMs) => {
      const state = this.#tenants.get(tenantId);
      if (state && inMs < pollEveryMs) this.#schedule(tenantId, state, inMs + batchMs);
    });
  }

  register(metrics: Metrics): void {
    metrics.registerMetric(this.#lag);
    this.#sender.register(metrics);
  }

  /** Takes up what is there, now and from time to time. */
  start(): void {
    const { registry, log } = this.#options;
    const look = async () => {
      const found = new Set(await registry.tenantsWhere(webhooks.hasWebhooks));
      for (const [tenantId, { running }] of this.#tenants) if (!found.has(tenantId) && !running) this.#forget(tenantId);
      for (const tenantId of found) this.changed(tenantId);
    };
    this.#looking = repeat(pollEveryMs, look, log, "looking for webhooks");
  }

  /** Says that a tenant has written something. Costs nothing where it has no endpoints. */
  readonly wake = (tenantId: string): void => {
    const state = this.#tenants.get(tenantId);
    if (state) this.#schedule(tenantId, state, batchMs);
  };

  /** Says that a tenant's endpoints or deliveries have changed. */
  readonly changed = (tenantId: string): void => {
    const known = this.#tenants.get(tenantId);
    const state = known ?? {
      timer: undefined,
      atMs: 0,
      running: undefined,
      again: false,
      heldUp: 0,
      dueAtMs: undefined,
      sweptAtMs: Number.NEGATIVE_INFINITY,
    };
    this.#tenants.set(tenantId, state);
    this.#schedule(tenantId, state, 0);
  };

  /** Resolves when what is under way has ended; the next start, or another process, takes up what is left. */
  async stop(): Promise<void> {
    this.#stopping = true;
    await this.#looking?.stop();
    this.#ready.length = 0;
    for (const { timer } of this.#tenants.values()) clearTimeout(timer);
    await Promise.all([...this.#tenants.values()].map(({ running }) => running));
    await this.#sender.stop();
  }

  #schedule(tenantId: string, state: State, inMs: number): void {
    if (this.#stopping) return;
    const atMs = performance.now() + inMs;
    if (state.timer && state.atMs <= atMs) return;
    clearTimeout(state.timer);
    state.atMs = atMs;
    state.timer = setTimeout(() => {
      state.timer = undefined;
      if (state.running) state.again = true;
      else if (!this.#ready.includes(tenantId)) this.#ready.push(tenantId);
      this.#next();
    }, inMs);
    state.timer.unref();
  }

  #next(): void {
    while (this.#running < tenantsAtOnce) {
      const tenantId = this.#ready.shift();
      if (tenantId === undefined) return;
      const state = this.#tenants.get(tenantId);
      if (!state) continue;
      this.#running++;
      state.running = this.#run(tenantId, state)
        .catch((err) => {
          this.#options.log.warn({ tenantId, err }, "webhooks could not be seen to");
          state.heldUp++;
          this.#schedule(tenantId, state, Math.min(pollEveryMs, overdueMs * 2 ** state.heldUp));
        })
        .finally(() => {
          this.#running--;
          state.running = undefined;
          if (state.again) this.#schedule(tenantId, state, batchMs);
          state.again = false;
          this.#next();
        });
    }
  }

  async #run(tenantId: string, state: State): Promise<void> {
    const { registry } = this.#options;
    const tenant = await registry.tenant(tenantId);
    if (tenant.version < registry.version || tenant.state !== "active") return;
    let left = false;
    for (const webhookId of await webhooks.enabled(tenant.reader())) {
      if (this.#stopping) return;
      left = (await fanOut(tenant, webhookId)) || left;
      await this.#sender.pump(tenant, webhookId);
    }
    state.heldUp = left ? state.heldUp + 1 : 0;
    if (left) this.#schedule(tenantId, state, Math.min(heldUpMs.most, heldUpMs.first * 2 ** state.heldUp));
    const dueInMs = await deliveries.dueInMs(tenant.reader());
    state.dueAtMs = dueInMs === null ? undefined : performance.now() + dueInMs;
    if (dueInMs !== null) this.#schedule(tenantId, state, Math.min(pollEveryMs, Math.max(overdueMs, dueInMs)));
    if (performance.now() - state.sweptAtMs > sweepEveryMs) {
      await this.#sweep(tenant);
      state.sweptAtMs = performance.now();
    }
  }

  async #sweep(tenant: Tenant): Promise<void> {
    while (!this.#stopping && (await sweepDeliveries(tenant, this.#options.retentionDays)) === rowsSweptAtOnce);
  }

  #forget(tenantId: string): void {
    clearTimeout(this.#tenants.get(tenantId)?.timer);
    this.#tenants.delete(tenantId);
  }

  #lagSeconds(): number {
    const now = performance.now();
    return [...this.#tenants.values()].reduce((most, { dueAtMs }) => Math.max(most, (now - (dueAtMs ?? now)) / 1000), 0);
  }
}

/** Removes a tenant's old deliveries, and those of endpoints that were deleted, few at a time. Resolves to how many. */
export function sweepDeliveries(tenant: Tenant, retentionDays: number): Promise<number> {
  return tenant.write(async (session) => {
    await session.begin();
    const swept = await deliveries.sweep(session.tx, retentionDays, rowsSweptAtOnce);
    await session.commit(undefined, [], []);
    return swept;
  });
}
