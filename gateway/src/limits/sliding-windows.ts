import type { RateClass } from "@cell/http";
import { Problem } from "@cell/problem";
import type { GatewayMetrics } from "../metrics.ts";

/** The subjects whose requests a limit counts. */
export interface Counted {
  token: string;
  tenant: string;
  address: string;
}

interface Window {
  startMs: number;
  windowMs: number;
  count: number;
  /** Count of the previous window. */
  before: number;
}

const subjects = ["token", "tenant", "address"] as const;
const fewWindows = 1_000;

/**
 * Sliding-window limits of rate classes, in memory: each gateway process counts by itself. The previous window counts by its part that the
 * sliding window still covers.
 */
export class SlidingWindows {
  readonly #metrics: GatewayMetrics;
  readonly #windows = new Map<string, Window>();
  #sweepSize = fewWindows;

  constructor(metrics: GatewayMetrics) {
    this.#metrics = metrics;
  }

  get size(): number {
    return this.#windows.size;
  }

  /**
   * Counts a request of a class. Returns `RateLimit-Policy` and `RateLimit` items (draft-ietf-httpapi-ratelimit-headers-10). Throws
   * RATE_LIMITED, without counting, if any of its limits is used up.
   */
  take(rateClass: RateClass, counted: Counted, nowMs = performance.now()): { policy: string; state: string } {
    const limited = subjects.flatMap((subject) => {
      const quota = rateClass[subject];
      if (quota === undefined) return [];
      const window = this.#windowOf(`${rateClass.name} ${subject} ${counted[subject]}`, rateClass.windowSeconds * 1000, nowMs);
      return [{ subject, quota, window, used: usedOf(window, nowMs) }];
    });
    const exceeded = limited.find(({ quota, used }) => used + 1 > quota);
    if (exceeded) throw this.#rejection(rateClass, exceeded, nowMs);
    const policies: string[] = [];
    const states: string[] = [];
    for (const { subject, quota, window, used } of limited) {
      window.count++;
      const name = `"${rateClass.name}-${subject}"`;
      policies.push(`${name};q=${quota};w=${rateClass.windowSeconds}`);
      states.push(`${name};r=${Math.floor(quota - used - 1)};t=${Math.ceil((window.startMs + window.windowMs - nowMs) / 1000)}`);
    }
    return { policy: policies.join(", "), state: states.join(", ") };
  }

  #windowOf(key: string, windowMs: number, nowMs: number): Window {
    const window = this.#windows.get(key);
    if (window === undefined || window.windowMs !== windowMs) {
      if (this.#windows.size >= this.#sweepSize) this.#sweep(nowMs);
      const opened = { startMs: nowMs, windowMs, count: 0, before: 0 };
      this.#windows.set(key, opened);
      return opened;
    }
    const passed = Math.floor((nowMs - window.startMs) / windowMs);
    if (passed > 0) {
      window.before = passed === 1 ? window.count : 0;
      window.count = 0;
      window.startMs += passed * windowMs;
    }
    return window;
  }

  #sweep(nowMs: number): void {
    for (const [key, { startMs, windowMs }] of this.#windows) if (nowMs - startMs >= 2 * windowMs) this.#windows.delete(key);
    this.#sweepSize = Math.max(fewWindows, 2 * this.#windows.size);
  }

  #rejection(
    { name, windowSeconds }: RateClass,
    { subject, quota, window }: { subject: (typeof subjects)[number]; quota: number; window: Window },
    nowMs: number,
  ): Problem {
    this.#metrics.rateLimited.inc({ limit: "class" });
    const retryAfter = Math.max(1, Math.ceil(waitMsOf(window, quota, nowMs) / 1000));
    const whose = { token: "This token", tenant: "This tenant", address: "Your address" }[subject];
    return new Problem(
      "RATE_LIMITED",
      `${whose} may send ${quota} such requests in ${windowSeconds} seconds; try again in ${retryAfter} s`,
      {
        details: { limit: `${name}-${subject}`, requests: quota, windowSeconds },
        headers: {
          "retry-after": String(retryAfter),
          "ratelimit-policy": `"${name}-${subject}";q=${quota};w=${windowSeconds}`,
          ratelimit: `"${name}-${subject}";r=0;t=${retryAfter}`,
        },
      },
    );
  }
}

function usedOf({ startMs, windowMs, count, before }: Window, nowMs: number): number {
  return count + before * (1 - (nowMs - startMs) / windowMs);
}

/** The time until another request is allowed. */
function waitMsOf({ startMs, windowMs, count, before }: Window, quota: number, nowMs: number): number {
  const elapsedMs = nowMs - startMs;
  const most = quota - 1;
  if (count <= most) return windowMs * (1 - (most - count) / before) - elapsedMs;
  return windowMs - elapsedMs + windowMs * (1 - most / count);
}
