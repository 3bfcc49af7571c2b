import { writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import type { Fault } from "./chaos/fault.ts";
import { faults } from "./chaos/faults.ts";
import { randomOf } from "./chaos/history.ts";
import { connections } from "./chaos/http.ts";
import { head, line } from "./chaos/report.ts";
import { type Result, run } from "./chaos/run.ts";
import { CannotHappenHere, type Setup, Testbed } from "./chaos/testbed.ts";

const usage = `npm run chaos -- [fault …] [--acks 10000] [--clients 64] [--seed 1] [--port 23000] [--json chaos.json] [--smoke]

${faults.map(({ name, what }) => `  ${name.padEnd(16)}  ${what}`).join("\n")}`;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    acks: { type: "string", default: "10000" },
    clients: { type: "string", default: "64" },
    seed: { type: "string", default: "1" },
    port: { type: "string", default: "23000" },
    json: { type: "string" },
    smoke: { type: "boolean", default: false },
    help: { type: "boolean", default: false },
  },
});

let running: Testbed | undefined;
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  process.on(signal, () => {
    running?.abandon();
    process.exit(130);
  });
}
process.exitCode = await main();
process.exit();

/** Runs the chosen faults; resolves to the exit code: 1 if a promise was broken. */
async function main(): Promise<number> {
  const unknown = positionals.find((name) => !faults.some((fault) => fault.name === name));
  if (values.help || unknown) {
    console.log(unknown ? `There is no fault "${unknown}".\n\n${usage}` : usage);
    return unknown ? 2 : 0;
  }
  const chosen = faults.filter((fault) => (positionals.length > 0 ? positionals.includes(fault.name) : !values.smoke || fault.smoke));
  const results: Result[] = [];
  let impossible = 0;
  console.log(head());
  for (const [setup, group] of Map.groupBy(chosen, (fault) => JSON.stringify(fault.setup))) {
    try {
      for await (const result of attack(JSON.parse(setup) as Setup, group)) {
        results.push(result);
        console.log(line(result));
        for (const sentence of result.broken) console.log(`    ${sentence}`);
      }
    } catch (error) {
      if (!(error instanceof CannotHappenHere)) throw error;
      impossible++;
      console.log(`${group.map(({ name }) => name).join(", ")}: not tried: ${error.message}`);
    }
  }
  if (values.json) writeFileSync(values.json, `${JSON.stringify({ seed: Number(values.seed), impossible, results }, null, 2)}\n`);
  const broken = results.filter((result) => result.broken.length > 0);
  console.log(broken.length > 0 ? `\nBroken under: ${broken.map(({ fault }) => fault).join(", ")}` : "\nEvery promise held.");
  return broken.length > 0 ? 1 : 0;
}

async function* attack(setup: Setup, group: readonly Fault[]): AsyncGenerator<Result> {
  const seed = Number(values.seed);
  const testbed = await Testbed.start(setup, Number(values.port), randomOf(seed));
  running = testbed;
  try {
    for (const fault of group) {
      yield await run(testbed, fault, {
        clients: Number(values.clients),
        acknowledged: values.smoke ? 150 : Number(values.acks),
        seed,
        importedRows: values.smoke ? 500 : 10_000,
        rounds: values.smoke ? 1 : undefined,
        repeats: values.smoke ? 50 : 300,
        restMs: values.smoke ? 500 : Number.POSITIVE_INFINITY,
      });
    }
  } catch (error) {
    console.error(testbed.lines.join("\n"));
    throw error;
  } finally {
    connections.destroy();
    await testbed.stop();
    running = undefined;
  }
}
