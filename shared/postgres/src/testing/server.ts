import { randomBytes } from "node:crypto";
import { chmodSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import pg from "pg";
import { bootstrapDatabase, type ProgramUrls } from "../bootstrap.ts";
import { type Embedded, startEmbedded } from "../embedded.ts";

/** Prefix of test folders: the next test run stops and removes what a killed one left in them. */
export const testFolderPrefix = "cell-crm-test-";

/** A bootstrapped and otherwise empty database: `create database … template prepared owner crm`. */
export const preparedTemplate = "prepared";

/** Passwords of the programs' roles on test servers. */
const passwords = { crm: "crm", gateway: "gateway" };

export interface TestServer {
  /** The cell's role as in production: it owns the database and is not a superuser. */
  readonly url: string;
  readonly superuserUrl: string;
  /** Stops the server; its data stay. */
  halt(): Promise<void>;
  /** Starts it again after `halt`, on the same port. */
  goOn(): Promise<void>;
  /** Stops the server and removes its data. */
  stop(): Promise<void>;
}

/** A PostgreSQL for one test, beside the run's. `port`: the first one to try. */
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

/** Creates an empty database on a test server and returns the programs' URLs. */
export async function createTestDatabase(superuserUrl: string, name: string): Promise<ProgramUrls> {
  await asSuperuser(superuserUrl, `create database ${name} template ${preparedTemplate} owner crm`);
  const as = (user: "crm" | "gateway") =>
    Object.assign(new URL(superuserUrl), { pathname: name, username: user, password: passwords[user] }).href;
  return { crm: as("crm"), gateway: as("gateway") };
}

/** A database whose owner may create roles but that no superuser has prepared, as hosting providers offer it; its URL. */
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
