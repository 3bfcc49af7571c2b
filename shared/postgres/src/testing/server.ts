import { chmodSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Embedded, startEmbedded } from "../embedded.ts";

/** Folders of this name are ended and removed by the next test run when this one is killed. */
export const testFolderPrefix = "cell-crm-test-";

export interface TestServer {
  readonly url: string;
  /** Ends the server, its data stay. */
  halt(): Promise<void>;
  /** Starts it again after `halt`, on the same port. */
  goOn(): Promise<void>;
  /** Ends it for good. */
  stop(): Promise<void>;
}

/** A PostgreSQL of the test's own, beside the run's. `port`: the one to try first. */
export async function startTestServer(port: number): Promise<TestServer> {
  const dataDir = mkdtempSync(join(tmpdir(), `${testFolderPrefix}${process.pid}-`));
  chmodSync(dataDir, 0o755);
  const start = () => startEmbedded({ dataDir, fast: true, port, log: (line) => process.stderr.write(`${line}\n`) });
  let server: Embedded = await start();
  return {
    url: server.url,
    halt: () => server.stop(),
    async goOn() {
      server = await start();
    },
    async stop() {
      await server.stop();
      for (const folder of [server.home, dataDir]) rmSync(folder, { recursive: true, force: true });
    },
  };
}
