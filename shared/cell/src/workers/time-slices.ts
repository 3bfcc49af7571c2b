import { setImmediate } from "node:timers/promises";

/** Longest time that work blocks the event loop. */
const sliceMs = 2;

/** Divides long work into short time slices, between which requests are served. */
export class TimeSlices {
  #sinceMs = performance.now();

  /** Call between two pieces of the work: resolves when the next one may begin; undefined, without any delay, within a slice. */
  pause(): Promise<void> | undefined {
    return performance.now() - this.#sinceMs < sliceMs ? undefined : this.#next();
  }

  async #next(): Promise<void> {
    await setImmediate();
    this.#sinceMs = performance.now();
  }
}
