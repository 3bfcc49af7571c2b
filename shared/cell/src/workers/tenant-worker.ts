import type { Logger } from "@cell/http";
import { isConnectionLoss, type Registry, type Tenant } from "@cell/postgres";
import { Problem } from "@cell/problem";
import { type Backoff, backoffMs } from "./backoff.ts";
import { settlesWithin } from "./settles-within.ts";

/** Tells a run when to end. */
export interface RunContext {
  /** Aborted when the worker stops: the run ends after the step under way. */
  readonly signal: AbortSignal;
  /** Whether the run must end after the step under way: the worker stops, or the run has used its time slice and other tenants wait. */
  shouldYield(): boolean;
}

export interface TenantWorkerOptions {
  /** Names the work in log messages, such as "imports". */
  name: string;
  registry: Pick<Registry, "tenant" | "refresh" | "version">;
  log: Logger;
  /** Number of tenants that run at once in this process. One tenant never runs twice at once. */
  concurrency: number;
  /**
   * Does the work that a tenant has, until `context` ends it. Resolves to the milliseconds until the tenant must run again, 0 to go to the
   * end of the queue; undefined: not before it is woken or found.
   */
  run(tenant: Tenant, context: RunContext): Promise<number | undefined>;
  /** Finds the tenants that may have work: what other processes left, and what no wake-up announced here. */
  findTenants(): Promise<Iterable<string>>;
  /** Between two polls. */
  pollMs: number;
  /** From the start to the first poll; 0 by default. */
  firstPollMs?: number;
  /** From a wake-up to the run: further wake-ups in this time add no run. 0 by default. */
  coalesceMs?: number;
  /** How long a run may go on while other tenants wait. */
  sliceMs?: number;
  /** After failed runs in a row of one tenant. */
  backoff?: Backoff;
  /** How long `stop` waits for what is under way. */
  drainMs?: number;
  /** Whether `stop` also runs each tenant that is scheduled, instead of leaving it to the next process. */
  finishesPending?: boolean;
  /** After a failed run of a tenant that is served here, for metrics. */
  onFailure?(tenantId: string, error: unknown): void;
  /** A tenant was not run, because it is not served here now: paused, moved, dropped or not migrated yet. */
  onSkip?(tenantId: string): void;
}

const defaults = {
  firstPollMs: 0,
  coalesceMs: 0,
  sliceMs: 2_000,
  backoff: { firstMs: 1_000, maxMs: 30_000 },
  drainMs: 10_000,
  finishesPending: false,
};

/** Pauses of the whole worker while the database is unreachable. */
const outageBackoff: Backoff = { firstMs: 500, maxMs: 10_000 };

/** A tenant that is scheduled, queued, running or in back-off. */
interface TenantState {
  timer: NodeJS.Timeout | undefined;
  /** When the timer fires. */
  atMs: number;
  isQueued: boolean;
  isRunning: boolean;
  /** Was due again while it ran. */
  isDue: boolean;
  failures: number;
}

/**
 * Schedules background work tenant by tenant: when a tenant is woken, when its last run asked for it, and for all tenants by a poll from
 * time to time. Tenants run in the order in which they became due. A tenant whose run fails is left alone for its back-off; a lost
 * connection pauses the whole worker, so that an outage does not cost an attempt per tenant. A wake-up is only a hint and may be lost: the poll
 * finds the work. Work that several processes find at once must be claimed in the database (`for update skip locked`, a lease).
 */
export class TenantWorker {
  readonly #options: TenantWorkerOptions & typeof defaults;
  readonly #tenants = new Map<string, TenantState>();
  readonly #ready: string[] = [];
  readonly #running = new Set<Promise<void>>();
  readonly #ending = new AbortController();
  #pollTimer: NodeJS.Timeout | undefined;
  #polling: Promise<void> | undefined;
  #pollFailures = 0;
  /** Set while the whole worker pauses. */
  #outageTimer: NodeJS.Timeout | undefined;
  #connectionLosses = 0;
  #isStopping = false;
  #stopped: Promise<void> | undefined;

  constructor(options: TenantWorkerOptions) {
    this.#options = { ...defaults, ...options };
  }

  /** Begins to poll. Tenants that are woken run before that too. */
  start(): void {
    this.#schedulePoll(this.#options.firstPollMs);
  }

  /** Runs a tenant in `inMs` milliseconds, unless it is scheduled earlier, runs next anyway, or is in back-off. */
  wake(tenantId: string, inMs = this.#options.coalesceMs): void {
    if (this.#isStopping) return;
    let state = this.#tenants.get(tenantId);
    if (!state) {
      state = { timer: undefined, atMs: 0, isQueued: false, isRunning: false, isDue: false, failures: 0 };
      this.#tenants.set(tenantId, state);
    }
    if (state.isQueued || (state.failures > 0 && state.timer)) return;
    this.#schedule(tenantId, state, inMs);
  }

  /** Wakes all tenants that `findTenants` finds, such as after wake-ups were lost with a connection. Rejects as `findTenants` does. */
  async poll(): Promise<void> {
    for (const tenantId of await this.#options.findTenants()) this.wake(tenantId, 0);
  }

  /** Starts no more runs, and resolves when those under way have ended or `drainMs` has passed. */
  stop(): Promise<void> {
    this.#isStopping = true;
    this.#stopped ??= this.#end();
    return this.#stopped;
  }

  #schedulePoll(inMs: number): void {
    if (this.#isStopping) return;
    this.#pollTimer = setTimeout(() => {
      this.#polling = this.#pollAndSchedule();
    }, inMs).unref();
  }

  async #pollAndSchedule(): Promise<void> {
    const { name, pollMs, backoff } = this.#options;
    let inMs = pollMs;
    try {
      await this.poll();
      this.#pollFailures = 0;
    } catch (err) {
      this.#logFailure({ err }, `${name}: finding tenants failed`);
      inMs = Math.min(pollMs, backoffMs(++this.#pollFailures, backoff));
    }
    this.#schedulePoll(inMs);
  }

  #schedule(tenantId: string, state: TenantState, inMs: number): void {
    const atMs = performance.now() + inMs;
    if (state.timer && state.atMs <= atMs) return;
    clearTimeout(state.timer);
    state.timer = undefined;
    if (inMs <= 0) {
      this.#enqueue(tenantId, state);
      return;
    }
    state.atMs = atMs;
    state.timer = setTimeout(() => {
      state.timer = undefined;
      this.#enqueue(tenantId, state);
    }, inMs).unref();
  }

  #enqueue(tenantId: string, state: TenantState): void {
    if (this.#ending.signal.aborted) return;
    if (state.isRunning) {
      state.isDue = true;
      return;
    }
    if (!state.isQueued) this.#ready.push(tenantId);
    state.isQueued = true;
    this.#startNext();
  }

  #startNext(): void {
    while (!this.#outageTimer && this.#running.size < this.#options.concurrency) {
      const tenantId = this.#ready.shift();
      const state = tenantId === undefined ? undefined : this.#tenants.get(tenantId);
      if (tenantId === undefined || !state) return;
      state.isQueued = false;
      state.isRunning = true;
      const running = this.#runAndSchedule(tenantId, state).finally(() => {
        this.#running.delete(running);
        this.#startNext();
      });
      this.#running.add(running);
    }
  }

  async #runAndSchedule(tenantId: string, state: TenantState): Promise<void> {
    const inMs = await this.#run(tenantId, state).catch((error) => this.#backoffAfter(tenantId, state, error));
    state.isRunning = false;
    const isDue = state.isDue;
    state.isDue = false;
    if (isDue) this.#enqueue(tenantId, state);
    else if (inMs !== undefined && !this.#isStopping) this.#schedule(tenantId, state, inMs);
    if (!state.isQueued && !state.isRunning && !state.timer) this.#tenants.delete(tenantId);
  }

  async #run(tenantId: string, state: TenantState): Promise<number | undefined> {
    const { registry, run, sliceMs, onSkip } = this.#options;
    const tenant = await registry.tenant(tenantId);
    if (!this.#isServed(tenant)) {
      onSkip?.(tenantId);
      return undefined;
    }
    const { signal } = this.#ending;
    const endOfSliceMs = performance.now() + sliceMs;
    const shouldYield = () => signal.aborted || (this.#ready.length > 0 && performance.now() > endOfSliceMs);
    const inMs = await run(tenant, { signal, shouldYield });
    state.failures = 0;
    this.#connectionLosses = 0;
    return inMs;
  }

  /** Milliseconds until a tenant whose run has failed runs again; undefined where it is not served here any more. */
  async #backoffAfter(tenantId: string, state: TenantState, error: unknown): Promise<number | undefined> {
    const { name, backoff, onFailure, onSkip } = this.#options;
    // Wake-ups of meanwhile wait for the back-off too.
    clearTimeout(state.timer);
    state.timer = undefined;
    if (this.#ending.signal.aborted) return undefined;
    if (await this.#isAway(tenantId)) {
      state.failures = 0;
      onSkip?.(tenantId);
      return undefined;
    }
    state.isDue = false;
    state.failures++;
    this.#logFailure({ tenantId, failures: state.failures, err: error }, `${name}: a tenant's run failed`);
    onFailure?.(tenantId, error);
    if (isOutage(error)) this.#pause();
    return backoffMs(state.failures, backoff);
  }

  #pause(): void {
    // Nothing that is left can be done while the process stops.
    if (this.#isStopping) this.#ready.length = 0;
    else
      this.#outageTimer ??= setTimeout(
        () => {
          this.#outageTimer = undefined;
          this.#startNext();
        },
        backoffMs(++this.#connectionLosses, outageBackoff),
      ).unref();
  }

  #isServed({ state, version }: Tenant): boolean {
    return state === "active" && version >= this.#options.registry.version;
  }

  /** Whether a tenant has been paused, moved or dropped. False where the database does not tell. */
  async #isAway(tenantId: string): Promise<boolean> {
    try {
      return !this.#isServed(await this.#options.registry.refresh(tenantId));
    } catch (error) {
      return error instanceof Problem && error.code === "NOT_FOUND";
    }
  }

  #logFailure(fields: { tenantId?: string; failures?: number; err: unknown }, message: string): void {
    this.#options.log[isOutage(fields.err) ? "warn" : "error"](fields, message);
  }

  async #end(): Promise<void> {
    const { drainMs, finishesPending, log, name } = this.#options;
    clearTimeout(this.#pollTimer);
    clearTimeout(this.#outageTimer);
    this.#outageTimer = undefined;
    if (!finishesPending) this.#abandon();
    for (const [tenantId, state] of this.#tenants) {
      const isScheduled = state.timer !== undefined;
      clearTimeout(state.timer);
      state.timer = undefined;
      if (finishesPending && isScheduled) this.#enqueue(tenantId, state);
    }
    this.#startNext();
    if (await settlesWithin(this.#idle(), drainMs)) return;
    log.warn({ tenants: this.#running.size }, `${name}: stopped before all runs had ended`);
    this.#abandon();
  }

  #abandon(): void {
    this.#ending.abort();
    this.#ready.length = 0;
  }

  async #idle(): Promise<void> {
    await this.#polling;
    while (this.#running.size > 0) await Promise.all(this.#running);
  }
}

/** Whether the database was unreachable, be the error the driver's own or the one for callers that was made of it. */
function isOutage(error: unknown): boolean {
  return isConnectionLoss(error) || (error instanceof Problem && isConnectionLoss(error.cause));
}
