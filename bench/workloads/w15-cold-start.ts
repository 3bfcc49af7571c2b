import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileOf } from "../../scripts/build.ts";
import type { Bench, Workload } from "../harness/bench.ts";
import { atMost, compare, type Line } from "../harness/report.ts";
import type { Sample } from "../harness/sample.ts";

const settleMs = 10_000;
const root = join(import.meta.dirname, "..", "..");

/**
 * From the start of a process to its first answer of 200: the gateway, the cell, and `npm start` on a data directory that has been used
 * before. No limit; for comparison, a Node that does nothing. Goals: 150 ms, 300 ms, 3 s.
 */
export const coldStart: Workload = {
  id: "W15",
  title: "cold start",
  async run(bench) {
    const { stack, config } = bench;
    const rounds = config.smoke ? 1 : Math.max(3, config.rounds);
    const service = (name: "gateway" | "crm") => async () => {
      const url = `http://127.0.0.1:${config.ports[name]}/health`;
      await stack.halt(name);
      const ms = await firstResponse(process.execPath, [fileOf(name)], stack.environment(name), url);
      return ms;
    };
    const lines: Line[] = [];
    const add = async (name: string, goalMs: number | undefined, start: () => Promise<number>) => {
      const samples: Sample[] = [];
      for (let round = 0; round < rounds; round++) {
        const ms = await start();
        samples.push({ count: 1, perSecond: 1000 / ms, p50Ms: ms, errors: 0, cpuUs: {} });
      }
      const goals = ({ value }: Line) => (goalMs === undefined ? [] : [atMost("ms", value.median, goalMs)]);
      lines.push(compare("W15", { name, samples }, undefined, goals, "p50Ms"));
    };
    // A cell that has just started checks each of its tenants.
    if (!config.smoke) await sleep(settleMs);
    await add("node -e 0", undefined, nothing);
    try {
      await add("gateway", 150, service("gateway"));
      await add("cell", 300, service("crm"));
      const whole = () => npmStart(bench);
      // The first start prepares the machine.
      await whole();
      await add("npm start", 3_000, whole);
    } finally {
      for (const name of ["crm", "gateway"] as const) await stack.run(name);
    }
    return lines;
  },
};

async function nothing(): Promise<number> {
  const startedAt = performance.now();
  const child = spawn(process.execPath, ["-e", "0"], { stdio: "ignore" });
  await once(child, "exit");
  return performance.now() - startedAt;
}

function npmStart({ config }: Bench): Promise<number> {
  const { spare } = config.ports;
  const env = { PORT: String(spare), CRM_PORT: String(spare + 1), DATA_DIR: join(config.dataDir, "started") };
  return firstResponse("npm", ["start"], env, `http://127.0.0.1:${spare}/ready`);
}

/** Time from a program's start to its first response, in ms; it is ended again. */
async function firstResponse(program: string, args: readonly string[], env: Record<string, string>, url: string): Promise<number> {
  const startedAt = performance.now();
  const child = spawn(program, args, { cwd: root, env: { ...process.env, ...env }, stdio: "ignore", detached: true });
  try {
    for (;;) {
      const response = await fetch(url).catch(() => undefined);
      await response?.body?.cancel();
      const ms = performance.now() - startedAt;
      if (response?.ok) return ms;
      if (child.exitCode !== null || ms > 120_000) throw new Error(`${program} ${args.join(" ")} does not answer at ${url}`);
      await sleep(2);
    }
  } finally {
    if (child.exitCode === null && child.pid !== undefined) {
      // A process group: npm would not forward the signal.
      process.kill(-child.pid, "SIGTERM");
      await once(child, "exit");
    }
  }
}
