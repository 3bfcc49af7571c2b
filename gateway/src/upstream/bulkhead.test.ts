import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, expect, test } from "vitest";
import { createGatewayMetrics } from "../metrics.ts";
import { ConnectionPool } from "../proxy/http1/pool.ts";
import { Bulkhead, type Permit } from "./bulkhead.ts";
import { CircuitBreaker } from "./circuit-breaker.ts";

const pool = new ConnectionPool("http://127.0.0.1:1", { connectMs: 250, bodyIdleMs: 1_000 });
const circuit = new CircuitBreaker({ probe: async () => "away", changed: () => undefined, responseMs: 5_000 });
afterAll(() => {
  circuit.stop();
  pool.destroy();
});

function make(limit: number, tenantLimit: number, tenantConcurrency = 100): Bulkhead {
  return new Bulkhead({ pool, circuit, partition: "crm-1", limit, tenantLimit, tenantConcurrency, metrics: createGatewayMetrics() });
}

const enter = (bulkhead: Bulkhead, tenantId: string) => bulkhead.enter(tenantId, () => undefined);

const granted = (bulkhead: Bulkhead) => Array.from({ length: 100 }, () => bulkhead.tryRetry()).filter(Boolean).length;

test("retries are limited to a fifth of the running requests, and three are always allowed", () => {
  const bulkhead = make(512, 512);
  expect(granted(bulkhead)).toBe(3);
  const permits = Array.from({ length: 100 }, () => enter(bulkhead, "tenant"));
  expect(granted(bulkhead)).toBe(17);
  for (const permit of permits.slice(0, 5)) bulkhead.release(permit, true);
  expect(granted(bulkhead)).toBe(4);
});

test("a bulkhead admits a tenant's quota and its total, and each end makes room for another request", () => {
  const bulkhead = make(4, 2);
  const permits: Record<string, Permit> = {};
  const admit = (tenantId: string) => {
    const rejection = bulkhead.rejection(tenantId);
    if (!rejection) permits[tenantId] = enter(bulkhead, tenantId);
    return rejection?.message;
  };
  const leave = (tenantId: string) => bulkhead.release(permits[tenantId] as Permit, false);
  expect([admit("a"), admit("a")]).toEqual([undefined, undefined]);
  expect(admit("a")).toMatch(/tenant already has 2 running requests/);
  expect([admit("b"), admit("c")]).toEqual([undefined, undefined]);
  expect(admit("d")).toMatch(/overloaded/);
  leave("a");
  expect(admit("d")).toBeUndefined();
  leave("b");
  expect(admit("a")).toBeUndefined();
});

/** Admits requests, and reports which of them have begun. */
function crowd(bulkhead: Bulkhead) {
  const begun: string[] = [];
  const permits: Record<string, Permit> = {};
  const ask = (...names: string[]) => {
    for (const name of names) permits[name] = bulkhead.enter(name.slice(0, 1), () => begun.push(name));
  };
  const end = (...names: string[]) => {
    for (const name of names) bulkhead.release(permits[name] as Permit, false);
  };
  return { begun, ask, end };
}

test("while others are active, a tenant is limited to its concurrency, and its waiting requests follow in order", () => {
  const { begun, ask, end } = crowd(make(100, 100, 2));
  ask("a1", "a2", "a3");
  expect(begun).toEqual(["a1", "a2", "a3"]);
  ask("b1", "a4", "a5", "a6", "b2", "b3");
  expect(begun).toEqual(["a1", "a2", "a3", "b1", "b2"]);
  end("a1");
  expect(begun.length).toBe(5);
  // A waiting request that leaves gives its place to the next one.
  end("a4", "a2");
  expect(begun.slice(5)).toEqual(["a5"]);
  end("b1", "a3");
  expect(begun.slice(6)).toEqual(["b3", "a6"]);
  end("a5", "a6", "b2", "b3");
  ask("a7", "b4");
  expect(begun.slice(8)).toEqual(["a7", "b4"]);
});

test("a request waits in the bulkhead for at most a second, and not at all if no other tenant was active that long", async () => {
  const { begun, ask } = crowd(make(100, 100, 1));
  ask("a1", "b1");
  await sleep(500);
  ask("a2");
  expect(begun).toEqual(["a1", "b1"]);
  await sleep(550);
  ask("a3", "a4");
  expect(begun.slice(2)).toEqual(["a2", "a3", "a4"]);
  ask("b2", "b3");
  expect(begun.slice(5)).toEqual([]);
  await sleep(1_050);
  expect(begun.slice(5)).toEqual(["b2", "b3"]);
});
