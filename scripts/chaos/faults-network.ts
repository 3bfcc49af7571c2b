import { setTimeout as sleep } from "node:timers/promises";
import type { Fault } from "./fault.ts";

const minuteMs = 60_000;

/** Faults of connections, and of time. */
export const networkFaults: readonly Fault[] = [
  {
    name: "cut",
    what: "connections between cell and PostgreSQL reset, some or all, five times a second",
    setup: {},
    rounds: 3,
    restMs: 1_000,
    smoke: true,
    async round({ testbed, random }) {
      for (let times = 0; times < 15; times++) {
        testbed.database.cut(random() < 0.2 ? 1 : random());
        await sleep(200);
      }
    },
  },
  {
    name: "delay",
    what: "5 to 65 ms added to each piece between cell and PostgreSQL, then 400 ms",
    setup: {},
    rounds: 3,
    restMs: 500,
    async round({ testbed: { database } }) {
      database.delayMs = 5;
      database.jitterMs = 60;
      await sleep(5_000);
      database.delayMs = 400;
      await sleep(2_000);
      database.delayMs = 0;
      database.jitterMs = 0;
    },
  },
  {
    name: "blackhole",
    what: "for 3 s nothing gets through between cell and PostgreSQL, and it is late or lost for good afterwards",
    setup: {},
    rounds: 4,
    restMs: 3_000,
    async round({ testbed: { database }, number }) {
      if (number % 2 === 0) database.swallow();
      else database.stall();
      await sleep(3_000);
      database.mend();
    },
  },
  {
    name: "cell-blackhole",
    what: "for 8 s nothing gets through between gateway and cell, and it is late or lost for good afterwards",
    setup: { balanced: true },
    rounds: 4,
    restMs: 3_000,
    async round({ testbed: { cells }, number }) {
      if (!cells) throw new Error("the setup is not balanced");
      if (number % 2 === 0) cells.swallow();
      else cells.stall();
      await sleep(8_000);
      cells.mend();
    },
  },
  {
    name: "commit-lost",
    what: "one commit in ten happens, its answer is swallowed and the connection cut",
    setup: {},
    rounds: 3,
    restMs: 500,
    smoke: true,
    async round({ testbed: { database }, random }) {
      database.commitFate = () => (random() < 0.1 ? "lose" : "pass");
      await sleep(5_000);
      database.commitFate = () => "pass";
    },
  },
  {
    name: "clock",
    what: "the clocks of gateway and cell stepped by 20 s to 3 h, forward and back, up to 20 s apart",
    setup: { clock: true },
    rounds: 6,
    restMs: 2_000,
    async round({ testbed, number }) {
      const steps = [
        [60 * minuteMs, 60 * minuteMs],
        [-60 * minuteMs, -60 * minuteMs],
        [20_000, 0],
        [0, 20_000],
        [180 * minuteMs, 180 * minuteMs],
        [-20_000, -20_000],
      ] as const;
      const [gatewayMs, crmMs] = steps[number % steps.length] ?? [0, 0];
      testbed.step(gatewayMs, crmMs);
      await sleep(3_000);
      testbed.step(0);
    },
  },
];
