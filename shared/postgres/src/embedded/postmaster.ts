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

/** The content of postmaster.pid. */
interface LockFile extends Postmaster {
  status: string;
}

const lockTimeoutMs = 10_000;
const pollMs = 20;
/** Below the ephemeral port range. */
const maxPort = 32_767;

/**
 * Returns the server that already runs on this data directory, or starts one and waits until it accepts connections. Waits up to 10 s for a
 * lock or shared memory of a killed server. If the port is taken it tries the next one, unless `keepPort`.
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

/** Stops the server: rejects new connections, closes open ones, flushes everything to disk. Stronger signals follow after 30 and 35 s. */
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

/** The first free port from this one on. */
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
 * PostgreSQL trusts a lock whose pid exists, even if it is a zombie's or was reused by another program. The shared memory that the lock
 * names must still be checked, so the file stays and gets a pid that cannot exist.
 */
function disownLock(place: Place, pid: number): void {
  const path = join(place.data, "postmaster.pid");
  const text = readFileSync(path, "utf8");
  writeFileSync(path, text.replace(String(pid), "999999999"));
}

/** Starts the server; if it ends instead, returns its last output. */
async function launch(place: Place, port: number, logPath: string, fast: boolean): Promise<Postmaster | string> {
  // The folder belongs to this server, and no server runs: a socket lock in it is stale, whatever process now has its pid.
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
    // The value for SSDs: it lets reports read from their indexes.
    random_page_cost: 1.1,
    // JIT pays off for queries of many seconds, which are not allowed here.
    jit: "off",
    password_encryption: "scram-sha-256",
    timezone: "UTC",
    log_timezone: "UTC",
    lc_messages: "C",
    log_line_prefix: "%m [%p] %q%u@%d %a ",
    log_checkpoints: "off",
    // Statements and error details contain names and phone numbers; the program that sent them logs the failure.
    log_min_messages: "log",
    log_min_error_statement: "panic",
    log_error_verbosity: "terse",
    ...(fast ? { fsync: "off", full_page_writes: "off", synchronous_commit: "off" } : { synchronous_commit: "on" }),
  };
}
