import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { join } from "node:path";
import { StartRefused } from "@cell/http/start-refused";
import { type DemoFile, freeCustomerName } from "./start/demo.ts";
import { takeLock } from "./start/lock.ts";
import { readSettings, type Settings } from "./start/settings.ts";
import { System } from "./start/system.ts";

/** One Ctrl-C can arrive several times: from the terminal, from npm and from the parent process. */
const sameSignalMs = 1_000;

process.exitCode = await main();
process.exit();

/** Runs until a signal; resolves to the exit code. */
async function main(): Promise<number> {
  const startedAt = performance.now();
  const interrupted = new AbortController();
  let system: System | undefined;
  let release: (() => void) | undefined;
  let code = 0;
  onSignals(interrupted, () => system?.kill());
  try {
    const settings = readSettings();
    release = takeLock(settings.dataDir);
    system = new System(settings, (line) => console.log(line));
    const demoFile = await system.start(interrupted.signal);
    await report(settings, demoFile, interrupted.signal);
    console.log(`\nReady after ${((performance.now() - startedAt) / 1000).toFixed(1)} s. Ctrl-C stops all of it.`);
    if (!interrupted.signal.aborted) await once(interrupted.signal, "abort");
  } catch (error) {
    if (!interrupted.signal.aborted) {
      console.error(error instanceof Error ? error.message : error);
      code = error instanceof StartRefused ? 2 : 1;
    }
  }
  if (interrupted.signal.aborted) console.log("\nStopping: running requests may finish. Ctrl-C again ends everything immediately.");
  await system?.stop();
  release?.();
  if (interrupted.signal.aborted) console.log("Stopped.");
  return code;
}

/** The first signal interrupts; another one after a second kills everything and ends this process. */
function onSignals(interrupted: AbortController, kill: () => void): void {
  let firstAt: number | undefined;
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    process.on(signal, () => {
      firstAt ??= Date.now();
      interrupted.abort();
      if (Date.now() - firstAt < sameSignalMs) return;
      kill();
      console.log("Killed.");
      process.exit(1);
    });
  }
}

async function report(settings: Settings, { gateway, cells, tenants }: DemoFile, signal: AbortSignal): Promise<void> {
  console.log("Cell CRM runs.\n");
  console.log(`  gateway    ${gateway}   documentation ${gateway}/docs`);
  for (const [name, url] of Object.entries(cells)) console.log(`  ${name.padEnd(9)}  ${url}   (for the gateway only)`);
  console.log(`  demo.json  ${join(settings.dataDir, "demo.json")}   (all addresses and keys, for scripts)`);
  console.log(`  logs       ${join(settings.dataDir, "logs")}`);

  for (const [tenantId, keys] of Object.entries(tenants)) {
    console.log(`\n  ${tenantId}`);
    for (const [role, { userId, key }] of Object.entries(keys)) console.log(`    ${role.padEnd(10)}  ${userId.padEnd(19)}  ${key}`);
  }
  const [first] = Object.entries(tenants);
  const key = first?.[1].sales?.key;
  if (!first || !key) return;
  const body = {
    name: await freeCustomerName(gateway, first[0], key, signal),
    contactPhone: "13800138000",
    contactEmail: "contact@example.com",
  };
  const headers = {
    Authorization: `Bearer ${key}`,
    "X-Tenant-Id": first[0],
    "X-Request-ID": randomUUID(),
    "Content-Type": "application/json",
  };
  const flags = Object.entries(headers).map(([name, value]) => `-H '${name}: ${value}'`);
  console.log(`\nCreate a customer:\n\ncurl -sS -X POST ${gateway}/api/v1/crm/customers ${flags.join(" ")} -d '${JSON.stringify(body)}'`);
}
