import { setImmediate, setTimeout as sleep } from "node:timers/promises";

/** How long a rest is for each request that came: who asks now and then costs an import nothing, who fills the process gets his share. */
const msPerRequest = 1;
/** How much longer a rest is than the work before it at most: others keep more than half of a process that they can fill. */
const restsPerWork = 2;

export interface PaceOptions {
  /** How many requests have come so far. */
  requests(): number;
  /** How long a portion of work is. */
  chunkMs: number;
  /** How long one piece of it takes at most: what took longer has waited itself. */
  pieceMs: number;
}

/** Portions of all work in this process that wait to begin: each in a turn of the event loop of its own. */
let line: Promise<unknown> = Promise.resolve();

function nextInLine(): Promise<unknown> {
  line = line.then(() => setImmediate());
  return line;
}

/** Work in portions that lets others go first: each portion is followed by a rest, the longer the more requests come. */
export class Throttle {
  readonly #options: PaceOptions;
  #requests: number;
  /** How many requests came from the rest before the last one to the last one. */
  recentRequests = 0;
  #workedMs = 0;
  #sinceMs = performance.now();

  constructor(options: PaceOptions) {
    this.#options = options;
    this.#requests = options.requests();
  }

  /** Tells that one more piece is done. Resolves when the next one may begin; undefined, without any delay, within a portion. */
  done(): Promise<void> | undefined {
    const nowMs = performance.now();
    this.#workedMs += Math.min(nowMs - this.#sinceMs, this.#options.pieceMs);
    this.#sinceMs = nowMs;
    return this.#workedMs < this.#options.chunkMs ? undefined : this.#rest();
  }

  /** The event loop turns in any case. */
  async #rest(): Promise<void> {
    const requests = this.#options.requests();
    this.recentRequests = requests - this.#requests;
    const restMs = Math.min(this.recentRequests * msPerRequest, this.#workedMs * restsPerWork);
    if (restMs > 0) await sleep(restMs);
    await nextInLine();
    this.#requests = requests;
    this.#workedMs = 0;
    this.#sinceMs = performance.now();
  }
}
