import { linkSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { isAlive, sendSignal, startOf } from "@cell/postgres/embedded/process";
import { readJson, writePrivately } from "./files.ts";

/** Identifies a process for good: a pid may be reused by another program. */
interface Identity {
  pid: number;
  start: string;
}

const patienceMs = 5_000;

/** Makes this process the only one on the data directory; returns the lock's release. Throws a sentence if another one runs there. */
export function takeLock(dataDir: string): () => void {
  const path = join(dataDir, "start.lock");
  const mine = join(dataDir, `start.lock.${process.pid}`);
  try {
    mkdirSync(dataDir, { recursive: true });
    writeFileSync(mine, JSON.stringify(identify(process.pid)), { mode: 0o600 });
  } catch (error) {
    throw new Error(`DATA_DIR: ${dataDir} cannot be written to (${(error as Error).message}).`, { cause: error });
  }
  try {
    for (;;) {
      try {
        linkSync(mine, path);
        return () => rmSync(path, { force: true });
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
      }
      const holder = readJson<Identity>(path);
      if (holder && runs(holder)) throw new Error(`Cell CRM already runs on ${dataDir} (process ${holder.pid}).`);
      if (holder) dropStale(path, holder);
    }
  } finally {
    rmSync(mine, { force: true });
  }
}

/** Records the processes that would remain if this one were killed. */
export function recordPids(dataDir: string, pids: Record<string, number>): void {
  const identities = Object.entries(pids).map(([name, pid]) => [name, identify(pid)] as const);
  writePrivately(join(dataDir, "pids.json"), Object.fromEntries(identities.filter(([, identity]) => identity)));
}

/** Ends what a killed predecessor left running. */
export async function endLeftovers(dataDir: string, log: (line: string) => void): Promise<void> {
  const path = join(dataDir, "pids.json");
  const leftovers = Object.entries(readJson<Record<string, Identity>>(path) ?? {}).filter(([, identity]) => runs(identity));
  if (leftovers.length > 0) log(`Ending processes of an earlier start: ${leftovers.map(([name]) => name).join(", ")}.`);
  await Promise.all(leftovers.map(([, { pid }]) => endProcess(pid, patienceMs)));
  rmSync(path, { force: true });
}

/** SIGTERM, and SIGKILL after the time limit. */
export async function endProcess(pid: number, patience: number): Promise<void> {
  sendSignal(pid, "SIGTERM");
  for (let waitedMs = 0; isAlive(pid); waitedMs += 20) {
    if (waitedMs > patience) sendSignal(pid, "SIGKILL");
    await sleep(20);
  }
}

function identify(pid: number): Identity | undefined {
  const start = startOf(pid);
  return start === undefined ? undefined : { pid, start };
}

function runs({ pid, start }: Identity): boolean {
  return startOf(pid) === start;
}

/** If two processes find the same stale lock, one may already have replaced it: that lock is put back. */
function dropStale(path: string, stale: Identity): void {
  const aside = `${path}.stale.${process.pid}`;
  try {
    renameSync(path, aside);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return;
    throw error;
  }
  if (readFileSync(aside, "utf8") !== JSON.stringify(stale)) linkSync(aside, path);
  rmSync(aside);
}
