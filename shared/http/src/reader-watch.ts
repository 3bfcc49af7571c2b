import type { ServerResponse } from "node:http";

/** The least that a reader has to take, averaged over the time in which data waits for it. */
export interface ReaderRate {
  bytesPerSecond: number;
  windowMs: number;
}

/** Number of checks per window. */
const samplesPerWindow = 10;

/** Cuts off a reader that is too slow: the data that waits for it holds a database connection. */
export class ReaderWatch {
  readonly #outgoing: ServerResponse;
  readonly #rate: ReaderRate;
  readonly #timer: NodeJS.Timeout;
  /** In the current window: how long data has waited for the reader, and how much it has taken. */
  #waitedMs = 0;
  #takenBytes = 0;
  #sinceMs: number | undefined;

  constructor(outgoing: ServerResponse, rate: ReaderRate) {
    this.#outgoing = outgoing;
    this.#rate = rate;
    this.#timer = setInterval(() => this.#inspect(), Math.max(1, rate.windowMs / samplesPerWindow)).unref();
  }

  /** Resolves when `taken` does, which is the reader taking `bytes`. */
  async during(bytes: number, taken: Promise<void>): Promise<void> {
    this.#sinceMs = performance.now();
    await taken;
    this.#waitedMs += performance.now() - this.#sinceMs;
    this.#sinceMs = undefined;
    this.#takenBytes += bytes;
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  #inspect(): void {
    const { bytesPerSecond, windowMs } = this.#rate;
    const now = performance.now();
    if (this.#sinceMs !== undefined) {
      this.#waitedMs += now - this.#sinceMs;
      this.#sinceMs = now;
    }
    if (this.#waitedMs < windowMs) return;
    if (this.#takenBytes * 1_000 < bytesPerSecond * this.#waitedMs) this.#outgoing.destroy();
    this.#waitedMs = 0;
    this.#takenBytes = 0;
  }
}
