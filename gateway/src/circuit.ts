export interface CircuitOptions {
  /** Finds out whether the upstream answers again; does not reject. */
  probe(): Promise<boolean>;
  changed(open: boolean): void;
}

/** Ten failures in a row open it, or half of at least twenty requests within ten seconds. */
const failuresInRow = 10;
const windowMs = 10_000;
const windowRequests = 20;
/**
 * The pause before each probe doubles up to the longest. No fault may be felt for more than five seconds after its end, so that it stays short;
 * a probe costs an upstream next to nothing.
 */
const firstPauseMs = 250;
const longestPauseMs = 1_000;

/** Refuses requests to an upstream that does not answer, and asks it in the background whether it does again: no caller's request is the probe. */
export class Circuit {
  readonly #options: CircuitOptions;
  #open = false;
  #stopped = false;
  #failuresInRow = 0;
  #windowStartMs = Number.NEGATIVE_INFINITY;
  #requests = 0;
  #failures = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(options: CircuitOptions) {
    this.#options = options;
  }

  /** True while nothing is to be sent. */
  get open(): boolean {
    return this.#open;
  }

  /** The upstream has answered, whatever it said. */
  succeeded(): void {
    this.#failuresInRow = 0;
    this.#requests++;
  }

  /** The upstream has not answered: no connection, a reset, nothing in time or nothing that is HTTP. */
  failed(nowMs = performance.now()): void {
    if (this.#open || this.#stopped) return;
    // A window begins with a failure, so that a success needs no clock.
    if (nowMs - this.#windowStartMs > windowMs) this.#startWindow(nowMs);
    this.#failuresInRow++;
    this.#requests++;
    this.#failures++;
    const halfFails = this.#requests >= windowRequests && this.#failures * 2 >= this.#requests;
    if (this.#failuresInRow >= failuresInRow || halfFails) this.#trip();
  }

  /** Probes no more. */
  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
  }

  #startWindow(nowMs: number): void {
    this.#windowStartMs = nowMs;
    this.#requests = 0;
    this.#failures = 0;
  }

  #trip(): void {
    this.#open = true;
    this.#options.changed(true);
    this.#probeAfter(firstPauseMs);
  }

  #probeAfter(pauseMs: number): void {
    this.#timer = setTimeout(async () => {
      const answers = await this.#options.probe();
      if (this.#stopped) return;
      if (answers) this.#close();
      else this.#probeAfter(Math.min(2 * pauseMs, longestPauseMs));
    }, pauseMs).unref();
  }

  #close(): void {
    this.#open = false;
    this.#failuresInRow = 0;
    this.#windowStartMs = Number.NEGATIVE_INFINITY;
    this.#options.changed(false);
  }
}
