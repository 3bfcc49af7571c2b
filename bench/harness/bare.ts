import { join } from "node:path";
import { type Program, startProgram } from "./program.ts";
import type { Stack } from "./stack.ts";

/** A cell and a gateway that do nothing but pass a read through: what the product's own work adds to is theirs. */
export interface Bare {
  cell: Program & { url: string };
  gateway: Program & { url: string };
  stop(): Promise<void>;
}

/** Starts both; the cell runs `statement` as a tenant, with its path's last segment as the one parameter. */
export async function startBare(stack: Stack, tenantId: string, statement: string): Promise<Bare> {
  const { ports, dataDir } = stack.config;
  const start = async (name: string, file: string, port: number, env: Record<string, string>) => {
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
  };
  const cell = await start("bare-cell", "bare-cell.ts", ports.bareCell, { DATABASE_URL: stack.urlOf(tenantId), STATEMENT: statement });
  const gateway = await start("bare-gateway", "bare-gateway.ts", ports.bareGateway, { CELL: cell.url });
  return {
    cell,
    gateway,
    async stop() {
      await gateway.stop();
      await cell.stop();
    },
  };
}
