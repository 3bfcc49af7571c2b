import { join } from "node:path";
import { type Program, startProgram } from "./program.ts";
import type { Stack } from "./stack.ts";

/** A cell and a gateway that only pass a read through: the difference is the cost of the product's own work. */
export interface Bare {
  cell: Program & { url: string };
  gateway: Program & { url: string };
  stop(): Promise<void>;
}

/** Starts a bare gateway with the named transport in front of `cell`. */
export function startBareGateway(stack: Stack, cell: string, transport: "own" | "undici", port = stack.config.ports.bareGateway) {
  return startBareProgram(stack, `bare-gateway-${transport}`, "bare-gateway.ts", port, { CELL: cell, TRANSPORT: transport });
}

async function startBareProgram(stack: Stack, name: string, file: string, port: number, env: Record<string, string>) {
  const { dataDir } = stack.config;
  const url = `http://127.0.0.1:${port}`;
  const program = await startProgram({
    name,
    program: process.execPath,
    args: [join(import.meta.dirname, file)],
    cwd: dataDir,
    env: { HOST: "127.0.0.1", PORT: String(port), ...env },
    url: `${url}/00000000-0000-7100-8000-000000000001`,
    logPath: join(dataDir, "logs", `${name}.log`),
    onPid: (pid) => stack.record(name, pid),
  });
  return { ...program, url };
}

/** Starts both; the cell runs `statement` as a tenant, with the path's last segment as its parameter. */
export async function startBare(stack: Stack, tenantId: string, statement: string): Promise<Bare> {
  const { ports } = stack.config;
  const cell = await startBareProgram(stack, "bare-cell", "bare-cell.ts", ports.bareCell, {
    DATABASE_URL: stack.urlOf(tenantId),
    STATEMENT: statement,
  });
  const gateway = await startBareGateway(stack, cell.url, "own");
  return {
    cell,
    gateway,
    async stop() {
      await gateway.stop();
      await cell.stop();
    },
  };
}
