import { execFile } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { type Sample, timed } from "./sample.ts";
import { percentile } from "./statistics.ts";

/** SQL that pgbench runs over and over, and the values of the variables that it starts with. */
export interface Script {
  text: string;
  /** Other scripts, one of which each transaction chooses at random; at most 127. */
  others?: readonly string[];
  variables: Readonly<Record<string, string>>;
}

export interface PgbenchRun {
  program: string;
  script: Script;
  /** `postgres://user:password@localhost/database?host=<socket folder>&port=<port>` */
  url: string;
  connections: number;
  seconds: number;
  dir: string;
  /** Also reports p50, p99 and the maximum, at the cost of recording each latency. */
  latencies?: boolean;
}

/** A run without any transaction is repeated with twice its time, up to this. */
const longestSeconds = 16;

/** Runs a script with prepared statements, each connection as fast as it can. */
export async function runPgbench(run: PgbenchRun): Promise<Omit<Sample, "cpuUs">> {
  const { program, script, url, connections, seconds, dir, latencies } = run;
  const files = [script.text, ...(script.others ?? [])].map((text, index) => {
    const file = join(dir, `pgbench-${index}.sql`);
    writeFileSync(file, text);
    return file;
  });
  const { username, password, pathname, searchParams } = new URL(url);
  const logDir = join(dir, "pgbench-log");
  rmSync(logDir, { recursive: true, force: true });
  mkdirSync(logDir);
  const args = [
    ...["-h", searchParams.get("host") ?? "", "-p", searchParams.get("port") ?? "", "-U", decodeURIComponent(username), "-n"],
    ...["-M", "prepared", "-c", String(connections), "-j", "1", "-T", String(seconds)],
    ...files.flatMap((file) => ["-f", file]),
    ...Object.entries(script.variables).flatMap(([name, value]) => ["-D", `${name}=${value}`]),
    ...(latencies ? ["-l", `--log-prefix=${join(logDir, "log")}`] : []),
    pathname.slice(1),
  ];
  const env = { ...process.env, PGPASSWORD: decodeURIComponent(password), PGOPTIONS: "-c timezone=UTC" };
  const { stdout } = await promisify(execFile)(program, args, { env, cwd: "/", maxBuffer: 64 << 20 });
  const count = Number(/number of transactions actually processed: (\d+)/.exec(stdout)?.[1]);
  const perSecond = Number(/tps = ([\d.]+)/.exec(stdout)?.[1]);
  const failed = Number(/number of failed transactions: (\d+)/.exec(stdout)?.[1] ?? 0);
  // Its time includes connecting, which may take all of it on a busy machine.
  if (count === 0 && seconds <= longestSeconds) return runPgbench({ ...run, seconds: seconds * 2 });
  if (!count || !perSecond) throw new Error(`pgbench did nothing: ${stdout}`);
  const averageMs = Number(/latency average = ([\d.]+)/.exec(stdout)?.[1]);
  const sample = { ...timed(count, (count / perSecond) * 1000, { errors: failed }), seen: { averageMs } };
  return latencies ? { ...sample, ...latenciesIn(logDir) } : sample;
}

function latenciesIn(dir: string): Pick<Sample, "p50Ms" | "p99Ms" | "maxMs"> {
  const lines = readdirSync(dir).flatMap((name) => readFileSync(join(dir, name), "utf8").trim().split("\n"));
  const ms = lines.map((line) => Number(line.split(" ")[2]) / 1000);
  return { p50Ms: percentile(ms, 0.5), p99Ms: percentile(ms, 0.99), maxMs: Math.max(...ms) };
}
