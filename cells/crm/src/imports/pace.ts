import { setImmediate, setTimeout as sleep } from "node:timers/promises";

/** How much longer a rest is than the work before it: others keep more than half of a process that they can fill. */
const restsPerWork = 2;

export interface PaceOptions {
  /** Whether requests are being answered. */
  hasOthers(): boolean;
  /** How long a portion of work is. */
  portionMs: number;
  /** How long one piece of it takes at most: what took longer has waited itself. */
  pieceMs: number;
}

/** Work in portions that lets others go first: while requests are being answered, each portion is followed by a rest twice as long. */
export class Pace {
  readonly #options: PaceOptions;
  #workedMs = 0;
  #sinceMs = performance.now();

  constructor(options: PaceOptions) {
    this.#options = options;
  }

  /** Tells that one more piece is done. Resolves when the next one may begin; undefined, without any delay, within a portion. */
  done(): Promise<void> | undefined {
    const nowMs = performance.now();
    this.#workedMs += Math.min(nowMs - this.#sinceMs, this.#options.pieceMs);
    this.#sinceMs = nowMs;
    return this.#workedMs < this.#options.portionMs ? undefined : this.#rest();
  }

  /** The event loop turns in any case. */
  async #rest(): Promise<void> {
    await (this.#options.hasOthers() ? sleep(this.#workedMs * restsPerWork) : setImmediate());
    this.#workedMs = 0;
    this.#sinceMs = performance.now();
  }
}
