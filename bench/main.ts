import { takeLock } from "../scripts/start/lock.ts";
import { readConfig } from "./config.ts";
import { Bench, type Workload } from "./harness/bench.ts";
import { ensureData } from "./harness/data.ts";
import { type Line, markdown, writeReport } from "./harness/report.ts";
import { Stack } from "./harness/stack.ts";
import { refreshStaleData } from "./harness/stale.ts";
import { findTools, machine, versionOf } from "./harness/tools.ts";
import { workloads } from "./workloads.ts";

const log = (line: string) => console.log(line);
const config = readConfig(process.argv.slice(2));
const chosen = choose(config.workloads);
const tools = findTools(log);
const release = takeLock(config.dataDir);
refreshStaleData(config.dataDir, log);
log("Starting PostgreSQL, gateway and cell …");
const stack = await Stack.start(config, log);
const lines: Line[] = [];
const failures: string[] = [];
let interrupted = false;
process.once("SIGINT", () => {
  interrupted = true;
  log("Stopping after this workload.");
});
try {
  await ensureData(stack, log);
  const bench = new Bench(config, stack, tools, log);
  for (const workload of chosen) {
    if (interrupted) break;
    await run(bench, workload);
  }
} finally {
  await stack.stop();
  release();
}
const about = {
  machine: machine(),
  tools: [versionOf(tools.wrk, "-v"), versionOf(tools.pgbench, "--version"), versionOf(tools.nginx, "-v")].join("; "),
  rounds: config.rounds,
  seconds: config.seconds,
  connections: config.connections,
  sizes: config.sizes,
};
const path = writeReport(config.resultDir, about, lines, failures);
log(`\n${markdown(lines)}\n\nWritten to ${path}`);
for (const failure of failures) log(`FAILED: ${failure}`);
process.exitCode = failures.length > 0 || (config.smoke && lines.some(({ errors }) => errors > 0)) ? 1 : 0;

async function run(bench: Bench, { id, title, run: measure }: Workload): Promise<void> {
  log(`${id} ${title}`);
  const startedAt = performance.now();
  try {
    const measured = await measure(bench);
    lines.push(...measured);
    if (!config.smoke) log(markdown(measured));
  } catch (error) {
    failures.push(`${id}: ${error instanceof Error ? (config.smoke ? error.stack : error.message) : error}`);
    log(failures.at(-1) ?? "");
  }
  log(`${id} took ${((performance.now() - startedAt) / 1000).toFixed(1)} s`);
}

function choose(ids: readonly string[]): Workload[] {
  const known = new Map(workloads.map((workload) => [workload.id, workload]));
  const unknown = ids.filter((id) => !known.has(id));
  if (unknown.length > 0) throw new Error(`${unknown.join(", ")} is no workload; there are ${[...known.keys()].join(", ")}`);
  return workloads.filter(({ id }) => (ids.length === 0 ? id !== "peers" : ids.includes(id)));
}
