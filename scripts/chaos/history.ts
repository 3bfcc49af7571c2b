export type Kind = "customer" | "opportunity" | "change" | "contract" | "payment" | "void" | "nonsense" | "import";

/** One attempt of a write, and its result. Times are of `performance.now()`. */
export interface Attempt {
  startedMs: number;
  endedMs: number;
  /** Undefined without a response. */
  status: number | undefined;
  /** The error's code, or the socket's. */
  code: string | undefined;
  /** What the error said. */
  message?: string;
}

/** A write with its own request id, and all its attempts. */
export interface Write {
  /** Its X-Request-ID, also written into the record wherever that has a place for it. */
  id: string;
  kind: Kind;
  method: "POST" | "PATCH";
  path: string;
  body: Record<string, unknown>;
  ifMatch: number | undefined;
  /** The record that it changes, or adds to. */
  subject: string | undefined;
  /** Statuses with which it may be rejected for good. */
  rejections: readonly number[];
  attempts: Attempt[];
  /** The first successful response. */
  acknowledged: { status: number; text: string } | undefined;
  refused: { status: number; code: string; text: string } | undefined;
  /** Repeats whose response differs from the first one. */
  differing: string[];
}

/** Time of a fault; `endMs`: when it was over, for a kill its moment. */
export interface Round {
  what: string;
  startMs: number;
  endMs: number;
}

export interface History {
  writes: Write[];
  rounds: Round[];
}

export function isFailure({ status }: Attempt): boolean {
  return status === undefined || status >= 500;
}

/** The longest time in ms from the end of a round to its recovery: the first success after it and the last failure that began after it. */
export function outageOf({ writes, rounds }: History): number {
  const attempts = writes.flatMap((write) => write.attempts).sort((a, b) => a.endedMs - b.endedMs);
  let longest = 0;
  rounds.forEach(({ endMs }, index) => {
    const until = rounds[index + 1]?.startMs ?? Number.POSITIVE_INFINITY;
    const after = attempts.filter((attempt) => attempt.endedMs > endMs && attempt.startedMs < until);
    const success = after.find((attempt) => !isFailure(attempt));
    const failure = after.findLast((attempt) => isFailure(attempt) && attempt.endedMs < until);
    const succeededMs = success ? success.endedMs - endMs : rounds[index + 1] ? until - endMs : Number.POSITIVE_INFINITY;
    longest = Math.max(longest, succeededMs, failure ? failure.endedMs - endMs : 0);
  });
  return longest;
}

/** The longest time in ms that an attempt took. */
export function longestOf({ writes }: History): number {
  return writes.reduce(
    (most, { attempts }) => attempts.reduce((max, { startedMs, endedMs }) => Math.max(max, endedMs - startedMs), most),
    0,
  );
}

/** Seeded pseudo-random numbers in [0, 1) (mulberry32), so that a run can be repeated. */
export function randomOf(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
