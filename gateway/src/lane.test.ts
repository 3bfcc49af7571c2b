import { afterAll, expect, test } from "vitest";
import { Circuit } from "./circuit.ts";
import { Lane } from "./lane.ts";
import { createGatewayMetrics } from "./metrics.ts";
import { ConnectionPool } from "./transport/pool.ts";

const pool = new ConnectionPool("http://127.0.0.1:1", { connectMs: 250, bodyIdleMs: 1_000 });
const circuit = new Circuit({ probe: async () => false, changed: () => undefined });
afterAll(() => {
  circuit.stop();
  pool.destroy();
});

function make(limit: number, tenantLimit: number): Lane {
  return new Lane({ pool, circuit, partition: "crm-1", limit, tenantLimit, metrics: createGatewayMetrics() });
}

const granted = (lane: Lane) => Array.from({ length: 100 }, () => lane.tryRetry()).filter(Boolean).length;

test("what is sent again is a fifth of what runs at most, but three always may", () => {
  const lane = make(512, 512);
  expect(granted(lane)).toBe(3);
  for (let count = 0; count < 100; count++) lane.enter("tenant");
  expect(granted(lane)).toBe(17);
  for (let count = 0; count < 5; count++) lane.leave("tenant", true);
  expect(granted(lane)).toBe(4);
});

test("a tenant's share and the whole are let in, one more is not, and each end makes room for another", () => {
  const lane = make(4, 2);
  const admit = (tenantId: string) => {
    const refusal = lane.refusal(tenantId);
    if (!refusal) lane.enter(tenantId);
    return refusal?.message;
  };
  expect([admit("a"), admit("a")]).toEqual([undefined, undefined]);
  expect(admit("a")).toMatch(/tenant has 2 requests running/);
  expect([admit("b"), admit("c")]).toEqual([undefined, undefined]);
  expect(admit("d")).toMatch(/more to do/);
  lane.leave("a", false);
  expect(admit("d")).toBeUndefined();
  lane.leave("b", false);
  expect(admit("a")).toBeUndefined();
});
