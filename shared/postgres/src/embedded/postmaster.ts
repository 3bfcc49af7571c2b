import { spawn } from "node:child_process";
import { closeSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { totalmem } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { serverEnv } from "./cluster.ts";
import { openLog, sizeOf } from "./log-file.ts";
import type { Place } from "./place.ts";
import { commandOf, isAlive, sendSignal } from "./process.ts";

export interface Postmaster {
  pid: number;
  port: number;
  socketDir: string;
}

/** What PostgreSQL writes to postmaster.pid about itself. */
interface LockFile extends Postmaster {
  status: string;
}

const lockTimeoutMs = 10_000;
const pollMs = 20;
/** Below the range from which outgoing connections take their ports. */
const maxPort = 32_767;

/**
 * Returns the server that already runs on this data directory, or starts one and waits until it accepts connections. A lock or shared
 * memory left by a killed server is waited for, 10 s at most; a taken port moves on to the next one, unless `keepPort`.
 */
export async function ensurePostmaster(place: Place, port: number, logPath: string, fast: boolean, keepPort: boolean): Promise<Postmaster> {
  const deadline = Date.now() + lockTimeoutMs;
  for (let next = port; ; ) {
    const running = await findRunning(place);
    if (running) return running;
    if (!keepPort) next = await freePort(next);
    const outcome = await launch(place, next, logPath, fast);
    if (typeof outcome !== "string") return outcome;
    const passing = /already exists|still in use|could not (bind|create any TCP)/.test(outcome);
    if (!passing || Date.now() > deadline) throw new Error(`PostgreSQL did not start; ${logPath} ends with: ${outcome}`);
    await sleep(100);
  }
}

/** Ends the server: new connections are refused, open ones are cut, everything is on disk. Harder means follow after 30 and 35 s. */
export async function stopPostmaster(pid: number): Promise<void> {
  for (const [signal, patienceMs] of [
    ["SIGINT", 30_000],
    ["SIGQUIT", 5_000],
    ["SIGKILL", 5_000],
  ] as const) {
    if (!isAlive(pid)) return;
    sendSignal(pid, signal);
    for (let waitedMs = 0; waitedMs < patienceMs && isAlive(pid); waitedMs += pollMs) await sleep(pollMs);
  }
}

/** The first port from this one on that nobody listens on. */
export async function freePort(first: number): Promise<number> {
  for (let port = first; port <= Math.max(first, maxPort); port++) {
    if (await isFree(port)) return port;
  }
  throw new Error(`No TCP port from ${first} to ${maxPort} is free.`);
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = createServer();
    probe.once("error", () => resolve(false));
    probe.listen(port, "127.0.0.1", () => probe.close(() => resolve(true)));
  });
}

async function findRunning(place: Place): Promise<Postmaster | undefined> {
  for (;;) {
    const lock = readLock(place);
    if (!lock) return undefined;
    if (!commandOf(lock.pid)?.includes(place.data)) {
      disownLock(place, lock.pid);
      return undefined;
    }
    if (lock.status === "ready") return lock;
    await sleep(pollMs);
  }
}

function readLock(place: Place): LockFile | undefined {
  let text: string;
  try {
    text = readFileSync(join(place.data, "postmaster.pid"), "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
  const [pid, , , port, socketDir = "", , , status = ""] = text.split("\n");
  return { pid: Number(pid), port: Number(port), socketDir, status: status.trim() };
}

/**
 * PostgreSQL believes a lock whose pid exists, be it a zombie's or one that another program got since. The shared memory that the lock
 * names must still be checked, so the file stays and only names a pid that cannot exist.
 */
function disownLock(place: Place, pid: number): void {
  const path = join(place.data, "postmaster.pid");
  const text = readFileSync(path, "utf8");
  writeFileSync(path, text.replace(String(pid), "999999999"));
}

/** Starts the server; returns what it said last when it ended instead. */
async function launch(place: Place, port: number, logPath: string, fast: boolean): Promise<Postmaster | string> {
  // The folder is this server's alone, and no server runs: a socket's lock in it is stale, whoever has its pid now.
  rmSync(join(place.socketDir, `.s.PGSQL.${port}.lock`), { force: true });
  const log = openLog(logPath);
  const logStart = sizeOf(logPath);
  const args = ["-D", place.data, "-p", String(port), "-k", place.socketDir];
  for (const [name, value] of Object.entries(settings(fast))) args.push("-c", `${name}=${value}`);
  const child = spawn(join(place.native, "bin", "postgres"), args, {
    ...place.user,
    cwd: "/",
    env: serverEnv,
    // A session of its own: Ctrl-C in the terminal is for the supervisor, which stops the cells first.
    detached: true,
    stdio: ["ignore", log, log],
  });
  closeSync(log);
  child.unref();
  let failure: Error | undefined;
  let ended = false;
  child.once("error", (error) => {
    failure = error;
  });
  child.once("exit", () => {
    ended = true;
  });
  for (;;) {
    if (failure) throw failure;
    if (ended) return readFileSync(logPath).subarray(logStart).toString().trim().split("\n").slice(-3).join(" | ");
    const lock = readLock(place);
    if (lock && lock.pid === child.pid && lock.status === "ready") return lock;
    await sleep(pollMs);
  }
}

function settings(fast: boolean): Record<string, string | number> {
  return {
    listen_addresses: "127.0.0.1",
    max_connections: 300,
    shared_buffers: fast ? "128MB" : `${Math.min(1_024, Math.floor(totalmem() / 2 ** 22))}MB`,
    max_wal_size: "4GB",
    // Any disk of these days: reports are then read from their indexes.
    random_page_cost: 1.1,
    // It pays for questions of many seconds, and none here may take that long.
    jit: "off",
    password_encryption: "scram-sha-256",
    timezone: "UTC",
    log_timezone: "UTC",
    lc_messages: "C",
    log_line_prefix: "%m [%p] %q%u@%d %a ",
    log_checkpoints: "off",
    // Statements, and the details of failed ones, carry people's names and phone numbers; who sent them logs the failure.
    log_min_messages: "log",
    log_min_error_statement: "panic",
    log_error_verbosity: "terse",
    ...(fast ? { fsync: "off", full_page_writes: "off", synchronous_commit: "off" } : { synchronous_commit: "on" }),
  };
}
