import { setTimeout as sleep } from "node:timers/promises";
import { checkHistory, type HistoryCheck } from "./check-history.ts";
import { Clients } from "./clients.ts";
import type { Fault } from "./fault.ts";
import { type History, isFailure, randomOf, type Write } from "./history.ts";
import { call } from "./http.ts";
import type { TenantKeys, Testbed } from "./testbed.ts";
import { Workload } from "./workload.ts";

export interface RunOptions {
  clients: number;
  /** Writes to acknowledge from the first round on. */
  acknowledged: number;
  seed: number;
  /** Maximum; undefined: as many as the fault needs. */
  rounds: number | undefined;
  /** Rows of the import that runs in the background. */
  importedRows: number;
  /** Writes to repeat after the faults: this many with failed attempts, and without. */
  repeats: number;
  /** Between rounds at most. */
  restMs: number;
}

export interface Result extends HistoryCheck {
  fault: string;
  rounds: number;
  /** From the first round to the last write. */
  seconds: number;
}

const users = 4;
const warmUp = 150;
const timeLimitMs = 900_000;
const settleMs = 20_000;
/** Writes after which a fault counts as over. */
const recovered = 50;
const recoveryLimitMs = 30_000;
const sealedWithinMs = 20_000;
/** An import runner polls for abandoned work every 30 s. */
const importedWithinMs = 60_000;

/** Lets clients write while a fault comes and goes, and checks their writes. */
export async function run(testbed: Testbed, fault: Fault, options: RunOptions): Promise<Result> {
  const random = randomOf(options.seed);
  const suffix = Math.floor(Date.now() / 1000).toString(36);
  const tenant = await testbed.tenant(`${fault.name}-${suffix}`, users);
  const workload = new Workload(`${fault.name}-${suffix}`, random);
  const clients = new Clients(testbed, tenant, workload, random);
  const history: History = { writes: clients.writes, rounds: [] };
  clients.start(options.clients);
  while (clients.acknowledged < warmUp) await sleep(20);

  const startedMs = performance.now();
  const imported = workload.import(options.importedRows);
  clients.also(imported);
  await playRounds(testbed, fault, { ...options, random, clients, history });
  await clients.stop(settleMs);
  const seconds = (performance.now() - startedMs) / 1000;
  const failed = fault.seamless ? seams(history) : [];
  await repeatSome(clients, options.repeats, random);
  failed.push(...(await importFaults(testbed, tenant, imported)));
  const broken = [
    ...failed,
    ...(await trailFaults(testbed, tenant)),
    ...testbed.unexpectedEnds().map((name) => `${name} has ended by itself`),
  ];
  const check = await checkHistory(history, testbed.databaseUrl, tenant.schema);
  return { fault: fault.name, rounds: history.rounds.length, seconds, ...check, broken: [...broken, ...check.broken] };
}

interface Play extends Omit<RunOptions, "clients"> {
  random: () => number;
  clients: Clients;
  history: History;
}

async function playRounds(testbed: Testbed, fault: Fault, play: Play): Promise<void> {
  const { clients, history, random } = play;
  const before = clients.acknowledged;
  const deadlineMs = performance.now() + timeLimitMs;
  const wanted = Math.min(play.rounds ?? fault.rounds, fault.rounds);
  for (let number = 0; number < wanted || clients.acknowledged - before < play.acknowledged; number++) {
    if (performance.now() > deadlineMs) throw new Error(`${fault.name}: only ${clients.acknowledged - before} writes in 15 minutes`);
    const startMs = performance.now();
    await fault.round({ testbed, number, random });
    history.rounds.push({ what: fault.name, startMs, endMs: performance.now() });
    await recovery(clients);
    await sleep(Math.min(fault.restMs, play.restMs));
  }
}

/** A fault is repeated once its last round has recovered, or its time limit is over. */
async function recovery(clients: Clients): Promise<void> {
  const enough = clients.acknowledged + recovered;
  const deadlineMs = performance.now() + recoveryLimitMs;
  while (clients.acknowledged < enough && performance.now() < deadlineMs) await sleep(20);
}

/** Failures although none may occur. */
function seams({ writes }: History): string[] {
  return writes.flatMap(({ id, kind, attempts }) =>
    attempts
      .filter(isFailure)
      .map(
        ({ status, code, message = "" }) => `a request failed, and none may: ${kind} ${id}: ${status ?? "no answer"} ${code} ${message}`,
      ),
  );
}

/** Finishes unfinished writes, and repeats some acknowledged ones: those with failed attempts first. */
async function repeatSome(clients: Clients, repeats: number, random: () => number): Promise<void> {
  for (const write of clients.writes) {
    for (let times = 0; !write.acknowledged && !write.refused && times < 20; times++) {
      await clients.repeat(write);
      if (!write.acknowledged && !write.refused) await sleep(250);
    }
  }
  const acknowledged = clients.writes.filter((write) => write.acknowledged);
  const doubtful = acknowledged.filter(({ attempts }) => attempts.some(isFailure));
  const others = acknowledged.filter(({ attempts }) => !attempts.some(isFailure));
  const chosen: Write[] = doubtful.slice(-repeats);
  for (let left = repeats; left > 0 && others.length > 0; left--) chosen.push(others[Math.floor(random() * others.length)] as Write);
  for (let start = 0; start < chosen.length; start += 16)
    await Promise.all(chosen.slice(start, start + 16).map((write) => clients.repeat(write)));
}

/** Lets the import in the background come to its end. */
async function importFaults(testbed: Testbed, { tenantId, keys }: TenantKeys, { acknowledged }: Write): Promise<string[]> {
  if (!acknowledged) return ["the import was never taken"];
  const { importId } = JSON.parse(acknowledged.text) as { importId: string };
  const headers = { authorization: `Bearer ${keys[0]}`, "x-tenant-id": tenantId };
  const url = `${testbed.gateway}/api/v1/crm/imports/${importId}`;
  const deadlineMs = performance.now() + importedWithinMs;
  for (;;) {
    const { status, failed } = await call<{ status: string; failed: number }>(url, { method: "GET", headers });
    if (status === "completed") return failed === 0 ? [] : [`${failed} rows of the import failed`];
    if (performance.now() > deadlineMs) return [`the import is ${status} ${importedWithinMs / 1000} s after the last fault`];
    await sleep(200);
  }
}

/** Lets the sealer catch up, and has the trail verified. */
async function trailFaults(testbed: Testbed, { tenantId, keys }: TenantKeys): Promise<string[]> {
  const headers = { authorization: `Bearer ${keys[0]}`, "x-tenant-id": tenantId };
  const ask = <Body>(path: string) => call<Body>(`${testbed.gateway}/api/v1/crm${path}`, { method: "GET", headers });
  const { total } = await ask<{ total: number }>("/audit-logs?pageSize=1&total=exact");
  const deadlineMs = performance.now() + sealedWithinMs;
  for (;;) {
    const found = await ask<{ ok: boolean; checked: number; firstBroken: unknown }>("/audit-logs/verify");
    if (!found.ok) return [`the audit trail is broken: ${JSON.stringify(found.firstBroken)}`];
    if (found.checked >= total) return [];
    if (performance.now() > deadlineMs)
      return [`${total - found.checked} of ${total} audit entries were not sealed in ${sealedWithinMs / 1000} s`];
    await sleep(500);
  }
}
