import { existsSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestProject } from "vitest/node";
import { stopPostmaster } from "../embedded/postmaster.ts";
import { commandOf, isAlive } from "../embedded/process.ts";
import { startTestServer, testFolderPrefix } from "./server.ts";

declare module "vitest" {
  interface ProvidedContext {
    /** The run's PostgreSQL as the cell's role; a file's tests create what they need in it and clean nothing up. */
    databaseUrl: string;
    /** The same database as a superuser, for inspection and preparation. */
    superuserUrl: string;
  }
}

/** One PostgreSQL per test run, removed at its end; returns the teardown. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  await sweep();
  // The run's port must not be that of a system that runs on this machine.
  const server = await startTestServer(20_432);
  project.provide("databaseUrl", server.url);
  project.provide("superuserUrl", server.superuserUrl);
  return () => server.stop();
}

/** Stops and removes what killed test runs left. */
async function sweep(): Promise<void> {
  for (const name of readdirSync(tmpdir())) {
    const pid = Number(new RegExp(`^${testFolderPrefix}(\\d+)-`).exec(name)?.[1]);
    if (!pid || isAlive(pid)) continue;
    const dataDir = join(tmpdir(), name);
    const lock = join(dataDir, "postgres", "postmaster.pid");
    const server = existsSync(lock) ? Number(readFileSync(lock, "utf8").split("\n")[0]) : 0;
    if (server && commandOf(server)?.includes(dataDir)) await stopPostmaster(server);
    rmSync(dataDir, { recursive: true, force: true });
  }
}
