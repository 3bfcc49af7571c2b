/** What a probe finds: an answer, none in time, or a connection that is refused or cut off. */
export type Health = "alive" | "silent" | "away";

export interface CircuitBreakerOptions {
  /** Asks the upstream for a sign of life that no request of a tenant can hold up. Does not reject. */
  probe(timeoutMs: number): Promise<Health>;
  changed(open: boolean): void;
  /** How long the upstream may take to answer, in ms. */
  responseMs: number;
}

/** Ten failures in a row open it, or half of at least twenty requests within ten seconds. */
const failuresInRow = 10;
/** So many requests in a row that were cut off are a reason to probe. */
const suspiciousInRow = 5;
/** So many probes without an answer, of any kind, say the same as connections that are not made. */
const probesInVain = 2;
const windowMs = 10_000;
const windowRequests = 20;
/**
 * The pause before each probe doubles up to the longest. No fault may be felt for more than five seconds after its end, so that it stays short;
 * a probe costs an upstream next to nothing.
 */
const firstPauseMs = 250;
const longestPauseMs = 1_000;
const probeTimeoutMs = 1_000;
/** An upstream that answers nothing is probed after this share of `answerMs`, and given up after the other: before the first caller is. */
const probeShare = 0.2;
const giveUpShare = 0.8;
/** Without a look for so long nothing is known of the time between: no request waited, or this process stood still. */
const longestGapMs = 1_000;

/**
 * Refuses requests to an upstream that does not answer, and asks it in the background whether it does again: no caller's request is the probe.
 * It opens by what no single request can cause: connections that fail, and silence in which probes are not answered either. That a request
 * takes too long, or is cut off, is a reason to probe and no more: one tenant's slow question must not close the door to the others.
 */
export class CircuitBreaker {
  readonly #options: CircuitBreakerOptions;
  readonly #probeMs: number;
  #open = false;
  #stopped = false;
  #responses = 0;
  #failuresInRow = 0;
  /** Connections that were refused since the last one that was made. */
  #refusedInRow = 0;
  /** What probes have found since the last answer. */
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

  /** True while nothing is to be sent. */
  get open(): boolean {
    return this.#open;
  }

  /** The upstream has answered, whatever it said. */
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

  /** No connection was made in time: the upstream is not reached, or this process was slow to see that it is. */
  unreached(nowMs = performance.now()): void {
    if (this.#open || this.#stopped) return;
    this.#failuresInRow++;
    if (this.#isAway || (this.#failuresInRow >= failuresInRow && this.#failedProbes >= probesInVain)) this.#trip();
    else if (this.#failuresInRow >= suspiciousInRow) this.#probe(nowMs);
  }

  /** A request that the upstream has received was cut off, or answered by what is not HTTP: its doing, or that of this request alone. */
  cutOff(nowMs = performance.now()): void {
    if (this.#open || this.#stopped) return;
    this.#cutOffs++;
    this.#failuresInRow++;
    this.#refusedInRow = 0;
    if (this.#isAway) this.#trip();
    else if (this.#failuresInRow >= suspiciousInRow) this.#probe(nowMs);
  }

  /** To be called every now and then while requests wait for their answers. */
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

  /** Probes no more. */
  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
  }

  /** Requests that the upstream has received. */
  get #reached(): number {
    return this.#responses + this.#cutOffs;
  }

  /** Requests fail, and so does what no request can make fail. */
  get #isAway(): boolean {
    return this.#health === "away" && this.#failuresInRow >= failuresInRow;
  }

  #startWindow(nowMs: number): void {
    this.#windowStartMs = nowMs;
    this.#windowStartReached = this.#reached;
    this.#windowFailures = 0;
  }

  /** One at a time, and none right after another. */
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
