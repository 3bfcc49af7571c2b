import { spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, openSync, readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { endProcess } from "../../scripts/start/lock.ts";

export interface ProgramOptions {
  name: string;
  /** By its path. */
  program: string;
  args: string[];
  cwd: string;
  /** The complete environment: nothing of this process's own is inherited. */
  env?: Record<string, string>;
  /** Responds, with any status, once the program is ready. */
  url: string;
  logPath: string;
  /** Receives the process id immediately. */
  onPid(pid: number): void;
}

/** A third-party server that a workload starts. */
export interface Program {
  pid: number;
  stop(): Promise<void>;
}

const readyTimeoutMs = 60_000;
const stopPatienceMs = 10_000;

/** Starts it and waits until it is ready. Rejects with a sentence if it ends before that, or if something else responds at its address. */
export async function startProgram({ name, program, args, cwd, env = {}, url, logPath, onPid }: ProgramOptions): Promise<Program> {
  if (await responses(url)) throw new Error(`${name} cannot be started: something else answers at ${url}`);
  const output = openSync(logPath, "w", 0o600);
  // A session of its own: Ctrl-C in the terminal is for the benchmark, which stops everything in order.
  const child = spawn(program, args, { cwd, env, detached: true, stdio: ["ignore", output, output] });
  closeSync(output);
  await once(child, "spawn");
  const pid = child.pid ?? 0;
  onPid(pid);
  const hasEnded = () => child.exitCode !== null || child.signalCode !== null;
  const stop = async () => {
    if (!hasEnded()) await endProcess(pid, stopPatienceMs);
  };
  for (const deadline = Date.now() + readyTimeoutMs; !(await responses(url)); await sleep(25)) {
    if (!hasEnded() && Date.now() < deadline) continue;
    await stop();
    throw new Error(
      `${name} does not start; ${logPath} ends with:\n${readFileSync(logPath, "utf8").trimEnd().split("\n").slice(-15).join("\n")}`,
    );
  }
  return { pid, stop };
}

async function responses(url: string): Promise<boolean> {
  try {
    const response = await fetch(url, { signal: AbortSignal.timeout(2_000) });
    await response.body?.cancel();
    return true;
  } catch {
    return false; // not listening
  }
}
