import { setImmediate } from "node:timers/promises";

/** For so long at most work keeps the event loop from others. */
const sliceMs = 2;

/** Divides long work of this process into short turns, between which requests are served. */
export class TimeSlices {
  #sinceMs = performance.now();

  /** Called between two pieces of the work: resolves when the next one may begin; undefined, without any delay, within a turn. */
  pause(): Promise<void> | undefined {
    return performance.now() - this.#sinceMs < sliceMs ? undefined : this.#next();
  }

  async #next(): Promise<void> {
    await setImmediate();
    this.#sinceMs = performance.now();
  }
}
