import { setImmediate, setTimeout as sleep } from "node:timers/promises";

/** Length of a pause per request during the work: occasional requests cost an import nothing, and heavy load gets its share. */
const msPerRequest = 1;
/** Limit of a pause as a multiple of the work before it: under load, requests keep more than half of the process. */
const restsPerWork = 2;

export interface ThrottleOptions {
  /** Number of requests so far. */
  requests(): number;
  /** Length of a chunk of work. */
  chunkMs: number;
  /** Longest measured time of one piece: a longer one has waited itself. */
  pieceMs: number;
}

/** Chunks of all work in this process that wait to begin, each in its own event loop turn. */
let line: Promise<unknown> = Promise.resolve();

function nextInLine(): Promise<unknown> {
  line = line.then(() => setImmediate());
  return line;
}

/** Divides work into chunks and lets requests go first: each chunk is followed by a pause that grows with the number of requests. */
export class Throttle {
  readonly #options: ThrottleOptions;
  #requests: number;
  /** Number of requests between the last two pauses. */
  recentRequests = 0;
  #workedMs = 0;
  #sinceMs = performance.now();

  constructor(options: ThrottleOptions) {
    this.#options = options;
    this.#requests = options.requests();
  }

  /** Reports that a piece is done. Resolves when the next one may begin; undefined, without any delay, within a chunk. */
  done(): Promise<void> | undefined {
    const nowMs = performance.now();
    this.#workedMs += Math.min(nowMs - this.#sinceMs, this.#options.pieceMs);
    this.#sinceMs = nowMs;
    return this.#workedMs < this.#options.chunkMs ? undefined : this.#rest();
  }

  /** Always yields to the event loop. */
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
