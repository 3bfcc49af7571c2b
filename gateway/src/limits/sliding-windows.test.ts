import type { RateClass } from "@cell/http";
import { Problem } from "@cell/problem";
import { expect, test } from "vitest";
import { createGatewayMetrics } from "../metrics.ts";
import { SlidingWindows } from "./sliding-windows.ts";

const hourly: RateClass = { name: "reports", windowSeconds: 3_600, token: 10 };
const hourMs = 3_600_000;
const of = (token: string, tenant = "a", address = "10.0.0.1") => ({ token, tenant, address });

/** Number of concurrent requests that are let through. */
function taken(windows: SlidingWindows, count: number, nowMs: number, rateClass: RateClass = hourly, counted = of("t")): number {
  let through = 0;
  for (let request = 0; request < count; request++) {
    try {
      windows.take(rateClass, counted, nowMs);
      through++;
    } catch (error) {
      expect(error).toBeInstanceOf(Problem);
    }
  }
  return through;
}

test("a sliding window counts requests of the last hour, and not earlier ones", () => {
  const windows = new SlidingWindows(createGatewayMetrics());
  expect(taken(windows, 15, 0)).toBe(10);
  expect(taken(windows, 5, hourMs - 1)).toBe(0);
  expect(taken(windows, 20, hourMs * 1.5)).toBe(5);
  expect(taken(windows, 20, hourMs * 4)).toBe(10);
});

test("a request rejected by a sliding window does not count, and gets the time of the next one", () => {
  const windows = new SlidingWindows(createGatewayMetrics());
  taken(windows, 10, 0);
  taken(windows, 100, hourMs / 2);
  const rejection = (nowMs: number) => {
    try {
      windows.take(hourly, of("t"), nowMs);
      throw new Error("it was taken");
    } catch (error) {
      return Number((error as Problem).headers?.["retry-after"]);
    }
  };
  const waitSeconds = rejection(hourMs / 2);
  expect(waitSeconds).toBe(1_800 + 360);
  expect(taken(windows, 3, hourMs / 2 + waitSeconds * 1000)).toBe(1);
});

test("sliding windows count token, tenant and address separately, and the first used-up one rejects", () => {
  const windows = new SlidingWindows(createGatewayMetrics());
  const rateClass = { name: "open", windowSeconds: 60, tenant: 5, address: 3 };
  expect(taken(windows, 9, 0, rateClass, of("t", "a", "10.0.0.1"))).toBe(3);
  expect(taken(windows, 9, 0, rateClass, of("t", "a", "10.0.0.2"))).toBe(2);
  expect(taken(windows, 9, 0, rateClass, of("t", "b", "10.0.0.2"))).toBe(1);
});

test("expired sliding windows are dropped", () => {
  const windows = new SlidingWindows(createGatewayMetrics());
  for (let token = 0; token < 5_000; token++) windows.take(hourly, of(String(token)), token * hourMs);
  expect(windows.size).toBeLessThan(1_010);
});
