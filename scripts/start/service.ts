import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { boundLog, openLog, sizeOf } from "@cell/postgres/embedded/log-file";
import { sendSignal } from "@cell/postgres/embedded/process";
import { endProcess } from "./lock.ts";
import { appendAsJson } from "./text-lines.ts";

export interface ServiceOptions {
  name: string;
  /** Relative to the root of the repository. */
  script: string;
  env: Record<string, string>;
  /** Its own address, for `/ready`. */
  url: string;
  logDir: string;
  log(line: string): void;
  /** Receives each process id, the first one included. */
  onPid(pid: number): void;
}

export interface Service {
  /** Resolves when `/ready` succeeds; rejects with the end of the log if the process ends before that. */
  ready(signal: AbortSignal): Promise<void>;
  /** SIGTERM, which lets running requests finish; SIGKILL after 30 s. */
  stop(): Promise<void>;
  kill(): void;
}

const root = join(import.meta.dirname, "..", "..");
const readyPollMs = 25;
const readyTimeoutMs = 60_000;
const stopPatienceMs = 30_000;
const maxBackoffMs = 5_000;
const boundLogMs = 10_000;
/** Semi-space of V8's young generation, in MB: Node's default costs a busy process 100 MB more and saves no time. */
const youngGeneration = "--max-semi-space-size=4";
/** One malloc arena for all threads: an arena per thread would retain freed memory. */
const oneHeap = { MALLOC_ARENA_MAX: "1" };
/** A process that ran for this long is restarted without delay. */
const steadyMs = 3_000;

/** Runs a server as a separate process, its output in `<logDir>/<name>.log`; one that was ready and dies is restarted. */
export function startService({ name, script, env, url, logDir, log, onPid }: ServiceOptions): Service {
  const logPath = join(logDir, `${name}.log`);
  const bound = setInterval(() => boundLog(logPath), boundLogMs);
  let wasReady = false;
  let stopping = false;
  let ended = false;
  let pid = 0;
  let backoffMs = 0;
  let logStart = 0;

  function launch(): void {
    const startedAt = Date.now();
    logStart = sizeOf(logPath);
    // A session of its own: Ctrl-C in the terminal is for the parent, which stops everything in order.
    const child = run(name, script, env, logPath, { detached: true });
    ended = false;
    child.once("exit", (code, signal) => {
      ended = true;
      if (stopping || !wasReady) return;
      backoffMs = Date.now() - startedAt > steadyMs ? 0 : Math.min(maxBackoffMs, Math.max(100, backoffMs * 2));
      log(`${name} (process ${pid}) died (${signal ?? `exit code ${code}`}); restarting it. Its log: ${logPath}`);
      setTimeout(() => stopping || launch(), backoffMs);
    });
    child.once("error", (error) => {
      ended = true;
      log(`${name} cannot be run: ${error.message}`);
    });
    pid = child.pid ?? 0;
    if (pid) onPid(pid);
  }

  launch();
  return {
    async ready(signal) {
      const deadline = Date.now() + readyTimeoutMs;
      while (!(await isReady(url))) {
        if (ended) throw new Error(`${name} does not start; ${logPath} ends with:\n${lastLines(logPath, logStart)}`);
        if (Date.now() > deadline) throw new Error(`${name} is not ready after ${readyTimeoutMs / 1000} s; see ${logPath}`);
        await sleep(readyPollMs, undefined, { signal });
      }
      wasReady = true;
    },
    async stop() {
      stopping = true;
      clearInterval(bound);
      if (pid && !ended) await endProcess(pid, stopPatienceMs);
    },
    kill() {
      stopping = true;
      if (pid && !ended) sendSignal(pid, "SIGKILL");
    },
  };
}

/** Runs a script to its end, its output in `<logDir>/<name>.log`. Rejects with the end of that output if it fails. */
export async function runStep(
  name: string,
  script: string,
  env: Record<string, string>,
  logDir: string,
  signal: AbortSignal,
): Promise<void> {
  const logPath = join(logDir, `${name}.log`);
  const logStart = sizeOf(logPath);
  const [code] = await once(run(name, script, env, logPath, { signal }), "close");
  if (code !== 0) throw new Error(`${name} has failed; ${logPath} ends with:\n${lastLines(logPath, logStart)}`);
}

/**
 * Starts a program that appends to its log. Text on stderr that the program does not log itself, such as V8's message when memory is full,
 * is appended as JSON.
 */
function run(
  name: string,
  script: string,
  env: Record<string, string>,
  logPath: string,
  options: { detached?: boolean; signal?: AbortSignal },
): ChildProcess {
  const output = openLog(logPath);
  const child = spawn(process.execPath, [youngGeneration, script], {
    cwd: root,
    env: { ...process.env, ...oneHeap, ...env },
    stdio: ["ignore", output, "pipe"],
    ...options,
  });
  closeSync(output);
  if (child.stderr) appendAsJson(child.stderr, name, child.pid, logPath);
  return child;
}

async function isReady(url: string): Promise<boolean> {
  try {
    const response = await fetch(`${url}/ready`, { signal: AbortSignal.timeout(2_000) });
    await response.body?.cancel();
    return response.ok;
  } catch {
    return false; // not listening yet
  }
}

/** The last lines of a log from this position on. */
function lastLines(path: string, start: number): string {
  return readFileSync(path).subarray(start).toString().trimEnd().split("\n").slice(-15).join("\n");
}
