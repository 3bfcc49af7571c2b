import { Problem } from "@cell/problem";

/** Less than gateways wait for the beginning of a response. */
const longResponseMs = 4_500;

/**
 * Runs `work`, which receives the deadline on the clock of `performance.now()`. Rejects as it does, or with TIMEOUT past the deadline; the
 * work is not stopped then.
 */
export async function withDeadline<T>(timeoutMs: number = longResponseMs, work: (deadlineAtMs: number) => Promise<T>): Promise<T> {
  const result = work(performance.now() + timeoutMs);
  result.catch(() => undefined);
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      const message = "The response takes longer than a request may; try again in a moment, or narrow the request down";
      reject(new Problem("TIMEOUT", message, { headers: { "retry-after": "2" } }));
    }, timeoutMs);
  });
  try {
    return await Promise.race([result, late]);
  } finally {
    clearTimeout(timer);
  }
}
