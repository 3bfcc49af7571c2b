import { randomBytes } from "node:crypto";
import { chmodSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import pg from "pg";
import { bootstrapDatabase, type ProgramUrls } from "../bootstrap.ts";
import { type Embedded, startEmbedded } from "../embedded.ts";

/** Folders of this name are ended and removed by the next test run when this one is killed. */
export const testFolderPrefix = "cell-crm-test-";

/** A database that is bootstrapped and otherwise empty: `create database … template prepared owner crm`. */
export const preparedTemplate = "prepared";

/** Passwords of the programs' roles on test servers. */
const passwords = { crm: "crm", gateway: "gateway" };

export interface TestServer {
  /** The cell's role, as it is in production: it owns the database and is no superuser. */
  readonly url: string;
  readonly superuserUrl: string;
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
  const packageDir = process.env.TEST_POSTGRES || undefined;
  const log = (line: string) => process.stderr.write(`${line}\n`);
  const start = () => startEmbedded({ dataDir, fast: true, port, log, ...(packageDir ? { packageDir } : {}) });
  let server: Embedded = await start();
  const { crm } = await bootstrapDatabase({ url: server.url, passwords });
  await asSuperuser(server.url, `create database ${preparedTemplate} template cell owner crm`);
  return {
    url: crm,
    superuserUrl: server.url,
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

/** Makes an empty database on a test server and returns how the programs connect to it. */
export async function createTestDatabase(superuserUrl: string, name: string): Promise<ProgramUrls> {
  await asSuperuser(superuserUrl, `create database ${name} template ${preparedTemplate} owner crm`);
  const as = (user: "crm" | "gateway") =>
    Object.assign(new URL(superuserUrl), { pathname: name, username: user, password: passwords[user] }).href;
  return { crm: as("crm"), gateway: as("gateway") };
}

/** A database whose owner may make roles, where no superuser has prepared anything, as a provider of databases hands it out; its URL. */
export async function createManagedDatabase(superuserUrl: string): Promise<string> {
  const name = `managed_${randomBytes(4).toString("hex")}`;
  await asSuperuser(superuserUrl, `create role ${name} login createrole password '${name}'`);
  await asSuperuser(superuserUrl, `create database ${name} owner ${name} template template0`);
  return Object.assign(new URL(superuserUrl), { pathname: name, username: name, password: name }).href;
}

async function asSuperuser(url: string, text: string): Promise<void> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    await client.query(text);
  } finally {
    await client.end();
  }
}
