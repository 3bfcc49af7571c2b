import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, expect, test } from "vitest";
import { CircuitBreaker, type Health } from "./circuit-breaker.ts";

const made: CircuitBreaker[] = [];
afterEach(() => {
  for (const circuit of made.splice(0)) circuit.stop();
});

function make(probe: () => Promise<Health> = async () => "away") {
  const changes: boolean[] = [];
  const circuit = new CircuitBreaker({ probe, changed: (open) => changes.push(open), responseMs: 5_000 });
  made.push(circuit);
  return { circuit, changes };
}

test("nine consecutive failures leave the circuit breaker closed, the tenth opens it; a success resets the count", () => {
  const { circuit } = make();
  for (const failures of [9, 9]) {
    for (let count = 0; count < failures; count++) circuit.failed(0);
    expect(circuit.open).toBe(false);
    for (let count = 0; count < 100; count++) circuit.succeeded();
  }
  for (let count = 0; count < 10; count++) circuit.failed(0);
  expect(circuit.open).toBe(true);
});

test("failures of half of twenty requests within ten seconds open the circuit breaker, fewer or slower ones do not", () => {
  const alternate = (circuit: CircuitBreaker, pairs: number, stepMs: number) => {
    for (let pair = 0; pair < pairs; pair++) {
      circuit.failed(pair * stepMs);
      circuit.succeeded();
    }
  };
  const few = make().circuit;
  alternate(few, 9, 1);
  expect(few.open).toBe(false);
  const slow = make().circuit;
  alternate(slow, 100, 2_000);
  expect(slow.open).toBe(false);
  const half = make().circuit;
  alternate(half, 11, 100);
  expect(half.open).toBe(true);
});

test("connection timeouts open the circuit breaker after two failed probes, and cut-off requests after one refused probe", async () => {
  let health: Health = "alive";
  const unreached = make(async () => health).circuit;
  const cutOff = make(async () => health).circuit;
  const fail = async (nowMs: number) => {
    for (let count = 0; count < 30; count++) {
      unreached.unreached(nowMs);
      cutOff.cutOff(nowMs);
    }
    await sleep(0);
    return [unreached.open, cutOff.open];
  };
  for (const nowMs of [0, 2_000, 4_000]) expect(await fail(nowMs)).toEqual([false, false]);
  health = "silent";
  expect([await fail(6_000), await fail(8_000), await fail(10_000)]).toEqual([
    [false, false],
    [false, false],
    [true, false],
  ]);
  health = "away";
  expect([await fail(12_000), await fail(14_000)]).toEqual([
    [true, false],
    [true, true],
  ]);
});

test("the circuit breaker closes when a probe succeeds, and a new fault opens it again", async () => {
  let health: Health = "away";
  let probes = 0;
  const { circuit, changes } = make(async () => {
    probes++;
    return health;
  });
  const trip = () => {
    for (let count = 0; count < 10; count++) circuit.failed();
  };
  trip();
  await sleep(400);
  expect([circuit.open, probes]).toEqual([true, 1]);
  health = "alive";
  await sleep(900);
  expect(circuit.open).toBe(false);
  circuit.failed();
  expect(circuit.open).toBe(false);
  trip();
  expect(changes).toEqual([true, false, true]);
});
