import type { ServerResponse } from "node:http";

/** What a reader has to take at least, on the average of the time in which something waits for it. */
export interface ReaderRate {
  bytesPerSecond: number;
  windowMs: number;
}

/** How often in a window it is looked whether the window has passed. */
const samplesPerWindow = 10;

/** Cuts off a reader that takes too little: what is read for it holds a database connection. */
export class ReaderWatch {
  readonly #outgoing: ServerResponse;
  readonly #rate: ReaderRate;
  readonly #timer: NodeJS.Timeout;
  /** Of the present window: for how long something has waited for the reader, and what it has taken. */
  #waitedMs = 0;
  #takenBytes = 0;
  #sinceMs: number | undefined;

  constructor(outgoing: ServerResponse, rate: ReaderRate) {
    this.#outgoing = outgoing;
    this.#rate = rate;
    this.#timer = setInterval(() => this.#inspect(), Math.max(1, rate.windowMs / samplesPerWindow)).unref();
  }

  /** Resolves as `taken` does, which stands for so many bytes that the reader takes. */
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
