/** Result of a probe: a response, a timeout, or a connection that is refused or cut off. */
export type Health = "alive" | "silent" | "away";

export interface CircuitBreakerOptions {
  /** Probes the upstream with a request of its own, which no tenant's request can delay. Does not reject. */
  probe(timeoutMs: number): Promise<Health>;
  changed(open: boolean): void;
  /** Time limit of the upstream's responses, in ms. */
  responseMs: number;
}

/** Ten consecutive failures open it, or half of at least twenty requests within ten seconds. */
const failuresInRow = 10;
/** This many consecutive cut-off requests cause a probe. */
const suspiciousInRow = 5;
/** This many consecutive probes without a response, of any kind, count like failed connections. */
const probesInVain = 2;
const windowMs = 10_000;
const windowRequests = 20;
/**
 * The back-off before each probe doubles up to the longest. It stays short, so that no fault is felt for more than five seconds after its
 * end; a probe costs an upstream next to nothing.
 */
const firstPauseMs = 250;
const longestPauseMs = 1_000;
const probeTimeoutMs = 1_000;
/**
 * A silent upstream is probed after this share of `responseMs`, and the circuit opens after another one: before the first caller times out.
 */
const probeShare = 0.2;
const giveUpShare = 0.8;
/** After a gap this long between checks nothing is known of the time between: no request was waiting, or this process stood still. */
const longestGapMs = 1_000;

/**
 * Circuit breaker of one upstream. While it is open, requests are rejected and background probes check the upstream: no caller's request is
 * the probe. It opens by faults that no single request can cause: failing connections, and silence that probes confirm. A slow or cut-off
 * request only causes a probe: one tenant's slow query must not block the others.
 */
export class CircuitBreaker {
  readonly #options: CircuitBreakerOptions;
  readonly #probeMs: number;
  #open = false;
  #stopped = false;
  #responses = 0;
  #failuresInRow = 0;
  /** Refused connections since the last one that was made. */
  #refusedInRow = 0;
  /** Result of the probes since the last response. */
  #health: Health = "alive";
  #failedProbes = 0;
  #windowStartMs = Number.NEGATIVE_INFINITY;
  #windowStartReached = 0;
  #windowFailures = 0;
  #cutOffs = 0;
  #probedAtMs = Number.NEGATIVE_INFINITY;
  #isProbing = false;
  #watchedAtMs = Number.NEGATIVE_INFINITY;
  #watchedResponses = 0;
  #silentSinceMs = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(options: CircuitBreakerOptions) {
    this.#options = options;
    this.#probeMs = Math.min(probeTimeoutMs, options.responseMs * probeShare);
  }

  /** True while requests are rejected. */
  get open(): boolean {
    return this.#open;
  }

  /** The upstream has responded, with any status. */
  succeeded(): void {
    this.#failuresInRow = 0;
    this.#refusedInRow = 0;
    this.#health = "alive";
    this.#failedProbes = 0;
    this.#responses++;
  }

  /** The upstream has refused a connection. */
  failed(nowMs = performance.now()): void {
    if (this.#open || this.#stopped) return;
    // A window begins with a failure, so that a success needs no clock.
    if (nowMs - this.#windowStartMs > windowMs) this.#startWindow(nowMs);
    this.#failuresInRow++;
    this.#refusedInRow++;
    this.#windowFailures++;
    const requests = this.#reached - this.#windowStartReached + this.#windowFailures;
    const halfFails = requests >= windowRequests && this.#windowFailures * 2 >= requests;
    if (this.#refusedInRow >= failuresInRow || halfFails || this.#isAway) this.#trip();
  }

  /** A connection timed out: the upstream is not reachable, or this process was too slow to notice. */
  unreached(nowMs = performance.now()): void {
    if (this.#open || this.#stopped) return;
    this.#failuresInRow++;
    if (this.#isAway || (this.#failuresInRow >= failuresInRow && this.#failedProbes >= probesInVain)) this.#trip();
    else if (this.#failuresInRow >= suspiciousInRow) this.#probe(nowMs);
  }

  /**
   * A request that the upstream has received was cut off, or its response was not HTTP: a fault of the upstream, or of this request only.
   */
  cutOff(nowMs = performance.now()): void {
    if (this.#open || this.#stopped) return;
    this.#cutOffs++;
    this.#failuresInRow++;
    this.#refusedInRow = 0;
    if (this.#isAway) this.#trip();
    else if (this.#failuresInRow >= suspiciousInRow) this.#probe(nowMs);
  }

  /** Call it periodically while requests wait for their responses. */
  watch(nowMs: number): void {
    if (this.#open || this.#stopped) return;
    const isContinued = nowMs - this.#watchedAtMs <= longestGapMs;
    this.#watchedAtMs = nowMs;
    if (!isContinued || this.#responses !== this.#watchedResponses) {
      this.#watchedResponses = this.#responses;
      this.#silentSinceMs = nowMs;
      return;
    }
    const silentMs = nowMs - this.#silentSinceMs;
    if (this.#health !== "alive" && silentMs >= this.#options.responseMs * giveUpShare) this.#trip();
    else if (silentMs >= this.#probeMs) this.#probe(nowMs);
  }

  /** Stops probing. */
  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
  }

  /** Number of requests that the upstream has received. */
  get #reached(): number {
    return this.#responses + this.#cutOffs;
  }

  /** Both requests and probes fail. */
  get #isAway(): boolean {
    return this.#health === "away" && this.#failuresInRow >= failuresInRow;
  }

  #startWindow(nowMs: number): void {
    this.#windowStartMs = nowMs;
    this.#windowStartReached = this.#reached;
    this.#windowFailures = 0;
  }

  /** Probes one at a time, with pauses. */
  #probe(nowMs: number): void {
    if (this.#isProbing || nowMs - this.#probedAtMs < this.#probeMs) return;
    this.#isProbing = true;
    this.#probedAtMs = nowMs;
    const responses = this.#responses;
    this.#options.probe(this.#probeMs).then((health) => {
      this.#isProbing = false;
      if (health === "alive") this.succeeded();
      else if (responses === this.#responses) this.#foundBad(health);
    });
  }

  #foundBad(health: Health): void {
    this.#health = health;
    this.#failedProbes++;
  }

  #trip(): void {
    this.#open = true;
    this.#options.changed(true);
    this.#probeAfter(firstPauseMs);
  }

  #probeAfter(pauseMs: number): void {
    this.#timer = setTimeout(async () => {
      const health = await this.#options.probe(probeTimeoutMs);
      if (this.#stopped) return;
      if (health === "alive") this.#close();
      else this.#probeAfter(Math.min(2 * pauseMs, longestPauseMs));
    }, pauseMs).unref();
  }

  #close(): void {
    this.#open = false;
    this.succeeded();
    this.#windowStartMs = Number.NEGATIVE_INFINITY;
    this.#watchedAtMs = Number.NEGATIVE_INFINITY;
    this.#options.changed(false);
  }
}
