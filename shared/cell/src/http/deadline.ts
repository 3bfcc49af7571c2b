import { Problem } from "@cell/problem";

/** Less than gateways wait for the beginning of an answer. */
const longResponseMs = 4_500;

/**
 * What `work` resolves to, which gets the deadline on the clock of `performance.now()`. Rejects as it does, or with TIMEOUT past the deadline;
 * the work is not stopped then.
 */
export async function withDeadline<T>(timeoutMs: number = longResponseMs, work: (deadlineAtMs: number) => Promise<T>): Promise<T> {
  const result = work(performance.now() + timeoutMs);
  result.catch(() => undefined);
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      const message = "The answer takes longer than a request may; ask again in a moment, or narrow the question down";
      reject(new Problem("TIMEOUT", message, { headers: { "retry-after": "2" } }));
    }, timeoutMs);
  });
  try {
    return await Promise.race([result, late]);
  } finally {
    clearTimeout(timer);
  }
}
