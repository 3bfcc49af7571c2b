import { readdirSync, readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { freePort } from "@cell/postgres/embedded/postmaster";
import { isAlive, sendSignal } from "@cell/postgres/embedded/process";
import type { ServiceName } from "../start/system.ts";
import type { Fault, Round } from "./faults.ts";
import { send } from "./http.ts";
import type { World } from "./world.ts";

/** Processes killed, stopped and replaced. */
export const processFaults: readonly Fault[] = [
  {
    name: "postgres-kill",
    what: "kill -9 of PostgreSQL with all its backends",
    setup: {},
    rounds: 3,
    restMs: 3_000,
    smoke: true,
    async round({ world }) {
      const postmaster = world.pid("postgres");
      // Stopped first, it cannot start backends meanwhile.
      sendSignal(postmaster, "SIGSTOP");
      world.kill(postmaster, ...childrenOf(postmaster));
    },
  },
  {
    name: "backend-kill",
    what: "kill -9 of one backend, upon which PostgreSQL ends them all and recovers",
    setup: {},
    rounds: 3,
    restMs: 3_000,
    async round({ world, random }) {
      const backends = backendsOf(world);
      const chosen = backends[Math.floor(random() * backends.length)];
      if (chosen !== undefined) world.kill(chosen);
    },
  },
  {
    name: "cell-kill",
    what: "kill -9 of the cell",
    setup: {},
    rounds: 3,
    restMs: 3_000,
    smoke: true,
    round: async ({ world }) => world.kill(world.pid("crm")),
  },
  {
    name: "gateway-kill",
    what: "kill -9 of the gateway",
    setup: {},
    rounds: 3,
    restMs: 3_000,
    smoke: true,
    round: async ({ world }) => world.kill(world.pid("gateway")),
  },
  {
    name: "stop",
    what: "SIGSTOP for 3 s of a backend, the postmaster, the cell, the gateway, in turn",
    setup: {},
    rounds: 4,
    restMs: 3_000,
    async round({ world, number, random }) {
      const backends = backendsOf(world);
      const pids = [
        backends[Math.floor(random() * backends.length)] ?? world.pid("postgres"),
        world.pid("postgres"),
        world.pid("crm"),
        world.pid("gateway"),
      ];
      const pid = pids[number % pids.length] ?? 0;
      sendSignal(pid, "SIGSTOP");
      await sleep(3_000);
      sendSignal(pid, "SIGCONT");
    },
  },
  {
    name: "rolling-restart",
    what: "cell and gateway replaced one after the other, the old one ended by SIGTERM",
    setup: { balanced: true, crm: { DRAIN_DELAY_MS: "500" }, gateway: { DRAIN_DELAY_MS: "500" } },
    rounds: 2,
    restMs: 500,
    seamless: true,
    async round(round) {
      await replaceCell(round);
      await replaceGateway(round);
    },
  },
];

/** The child processes of a process. */
function childrenOf(parent: number): number[] {
  return readdirSync("/proc")
    .map(Number)
    .filter((pid) => pid > 0 && parentOf(pid) === parent);
}

function parentOf(pid: number): number | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    return Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1]);
  } catch {
    return undefined; // it has ended meanwhile
  }
}

/** The server's processes that work for tenants. */
function backendsOf(world: World): number[] {
  return childrenOf(world.pid("postgres")).filter((pid) => {
    try {
      return readFileSync(`/proc/${pid}/cmdline`, "utf8").includes(": tenant_");
    } catch {
      return false; // it has ended meanwhile
    }
  });
}

async function replaceCell({ world }: Round): Promise<void> {
  const { cells } = world;
  if (!cells) throw new Error("the setup is not balanced");
  const usual = cells.targetPort;
  const other = await freePort(usual + 30);
  await replace(world, "crm", other, (port) => {
    cells.targetPort = port;
  });
}

async function replaceGateway({ world }: Round): Promise<void> {
  const usual = new URL(world.gateway);
  const other = await freePort(Number(usual.port) + 40);
  await replace(world, "gateway", other, (port) => {
    const moved = new URL(usual);
    moved.port = String(port);
    world.gateway = moved.origin;
  });
}

/** As a balancer does: new connections go to the other process, then the old one is told to end; and back again. */
async function replace(world: World, name: ServiceName, otherPort: number, direct: (port: number) => void): Promise<void> {
  const usual = name === "crm" ? (world.cells?.targetPort ?? 0) : Number(new URL(world.gateway).port);
  const old = world.pid(name);
  const endAnother = await world.startAnother(name, otherPort);
  direct(otherPort);
  world.ended.add(old);
  sendSignal(old, "SIGTERM");
  await endOf(old);
  await readiness(`http://127.0.0.1:${usual}`);
  direct(usual);
  await endAnother();
}

async function endOf(pid: number): Promise<void> {
  for (let waited = 0; isAlive(pid); waited += 20) {
    if (waited > 30_000) throw new Error(`process ${pid} does not end on SIGTERM`);
    await sleep(20);
  }
}

async function readiness(url: string): Promise<void> {
  for (let waited = 0; waited < 30_000; waited += 50) {
    const answer = await send(`${url}/ready`, { method: "GET" }).catch(() => undefined);
    if (answer?.status === 200) return;
    await sleep(50);
  }
  throw new Error(`${url} does not get ready again`);
}
