import { readdirSync, readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { freePort } from "@cell/postgres/embedded/postmaster";
import { isAlive, sendSignal } from "@cell/postgres/embedded/process";
import type { ServiceName } from "../start/system.ts";
import type { Fault, Round } from "./fault.ts";
import { send } from "./http.ts";
import type { Testbed } from "./testbed.ts";

/** Faults of processes: killed, stopped and replaced. */
export const processFaults: readonly Fault[] = [
  {
    name: "postgres-kill",
    what: "kill -9 of PostgreSQL with all its backends",
    setup: {},
    rounds: 3,
    restMs: 3_000,
    smoke: true,
    async round({ testbed }) {
      const postmaster = testbed.pid("postgres");
      // Stopped first, it cannot start backends meanwhile.
      sendSignal(postmaster, "SIGSTOP");
      testbed.kill(postmaster, ...childrenOf(postmaster));
    },
  },
  {
    name: "backend-kill",
    what: "kill -9 of one backend, upon which PostgreSQL ends them all and recovers",
    setup: {},
    rounds: 3,
    restMs: 3_000,
    async round({ testbed, random }) {
      const backends = backendsOf(testbed);
      const chosen = backends[Math.floor(random() * backends.length)];
      if (chosen !== undefined) testbed.kill(chosen);
    },
  },
  {
    name: "cell-kill",
    what: "kill -9 of the cell",
    setup: {},
    rounds: 3,
    restMs: 3_000,
    smoke: true,
    round: async ({ testbed }) => testbed.kill(testbed.pid("crm")),
  },
  {
    name: "gateway-kill",
    what: "kill -9 of the gateway",
    setup: {},
    rounds: 3,
    restMs: 3_000,
    smoke: true,
    round: async ({ testbed }) => testbed.kill(testbed.pid("gateway")),
  },
  {
    name: "stop",
    what: "SIGSTOP for 3 s of a backend, the postmaster, the cell, the gateway, in turn",
    setup: {},
    rounds: 4,
    restMs: 3_000,
    async round({ testbed, number, random }) {
      const backends = backendsOf(testbed);
      const pids = [
        backends[Math.floor(random() * backends.length)] ?? testbed.pid("postgres"),
        testbed.pid("postgres"),
        testbed.pid("crm"),
        testbed.pid("gateway"),
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
function backendsOf(testbed: Testbed): number[] {
  return childrenOf(testbed.pid("postgres")).filter((pid) => {
    try {
      return readFileSync(`/proc/${pid}/cmdline`, "utf8").includes(": tenant_");
    } catch {
      return false; // it has ended meanwhile
    }
  });
}

async function replaceCell({ testbed }: Round): Promise<void> {
  const { cells } = testbed;
  if (!cells) throw new Error("the setup is not balanced");
  const usual = cells.targetPort;
  const other = await freePort(usual + 30);
  await replace(testbed, "crm", other, (port) => {
    cells.targetPort = port;
  });
}

async function replaceGateway({ testbed }: Round): Promise<void> {
  const usual = new URL(testbed.gateway);
  const other = await freePort(Number(usual.port) + 40);
  await replace(testbed, "gateway", other, (port) => {
    const moved = new URL(usual);
    moved.port = String(port);
    testbed.gateway = moved.origin;
  });
}

/** Like a load balancer: sends new connections to the other process, then ends the old one; and back again. */
async function replace(testbed: Testbed, name: ServiceName, otherPort: number, direct: (port: number) => void): Promise<void> {
  const usual = name === "crm" ? (testbed.cells?.targetPort ?? 0) : Number(new URL(testbed.gateway).port);
  const old = testbed.pid(name);
  const endAnother = await testbed.startAnother(name, otherPort);
  direct(otherPort);
  testbed.ended.add(old);
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
    const response = await send(`${url}/ready`, { method: "GET" }).catch(() => undefined);
    if (response?.status === 200) return;
    await sleep(50);
  }
  throw new Error(`${url} does not get ready again`);
}
