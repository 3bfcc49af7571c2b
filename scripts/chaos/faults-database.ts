import { closeSync, openSync, rmSync, statfsSync, writeSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import pg from "pg";
import type { Fault } from "./fault.ts";
import type { Testbed } from "./testbed.ts";

/** Faults that keep a running database from serving. */
export const databaseFaults: readonly Fault[] = [
  {
    name: "pool",
    what: "outside sessions take every connection of the server for 4 s, and ours are cut",
    setup: { crm: { DATABASE_CONNECTIONS: "12", TENANT_CONNECTIONS: "8" } },
    rounds: 3,
    restMs: 3_000,
    async round({ testbed }) {
      const taken = new Taken(testbed.databaseUrl);
      await taken.fill();
      testbed.database.cut();
      const until = performance.now() + 4_000;
      // A connection that was cut is free for a moment: it is taken too.
      while (performance.now() < until) {
        await taken.fill();
        await sleep(100);
      }
      await taken.end();
    },
  },
  {
    name: "locks",
    what: "other sessions lock whole tables and the hot rows for 3 s",
    setup: { crm: { DATABASE_CONNECTIONS: "12", TENANT_CONNECTIONS: "8" } },
    rounds: 4,
    restMs: 3_000,
    round: ({ testbed, number }) => lock(testbed, number, 3_000),
  },
  {
    name: "endless-query",
    what: "statements that would never end: each waits for a lock longer than the statement timeout",
    setup: { crm: { STATEMENT_TIMEOUT_MS: "700" } },
    rounds: 4,
    restMs: 3_000,
    round: ({ testbed, number }) => lock(testbed, number, 4_000),
  },
  {
    name: "disk-full",
    what: "the file system of PostgreSQL's data is full for 4 s",
    setup: { diskMb: 700 },
    rounds: 3,
    restMs: 3_000,
    async round({ testbed }) {
      const filler = fill(testbed.dataDir);
      await sleep(4_000);
      rmSync(filler);
    },
  },
];

/** Connections of an outsider. */
class Taken {
  readonly #url: string;
  readonly #clients: pg.Client[] = [];

  constructor(url: string) {
    this.#url = url;
  }

  /** Opens connections until the server rejects them. */
  async fill(): Promise<void> {
    for (;;) {
      const client = new pg.Client({ connectionString: this.#url, application_name: "chaos" });
      client.on("error", () => undefined);
      try {
        await client.connect();
      } catch (error) {
        if ((error as { code?: string }).code === "53300") return;
        throw error;
      }
      this.#clients.push(client);
    }
  }

  async end(): Promise<void> {
    await Promise.all(this.#clients.map((client) => client.end()));
  }
}

/** Takes locks of each kind on the tables of every tenant under test. */
async function lock(testbed: Testbed, number: number, holdMs: number): Promise<void> {
  const client = new pg.Client({ connectionString: testbed.databaseUrl, application_name: "chaos" });
  await client.connect();
  try {
    const { rows } = await client.query<{ schema: string }>("select schema from crm.tenants order by created_at desc limit 1");
    const schema = `"${rows[0]?.schema}"`;
    const statements = [
      `lock table ${schema}.payments in access exclusive mode`,
      `select from ${schema}.contracts for update`,
      `lock table ${schema}.audit_logs in access exclusive mode`,
      `select from ${schema}.opportunities for update`,
    ];
    await client.query("begin");
    await client.query(statements[number % statements.length] ?? "");
    await sleep(holdMs);
    await client.query("rollback");
  } finally {
    await client.end();
  }
}

/** Writes a file until there is no room for another byte. Returns its path. */
function fill(folder: string): string {
  const path = join(folder, "filler");
  const file = openSync(path, "w");
  try {
    for (let block = Buffer.alloc(1024 * 1024); ; ) {
      const { bavail, bsize } = statfsSync(folder);
      if (bavail === 0) return path;
      if (bavail * bsize < block.length) block = Buffer.alloc(bavail * bsize);
      writeSync(file, block);
    }
  } catch (error) {
    // The server writes meanwhile: free space may be gone a moment later.
    if ((error as NodeJS.ErrnoException).code !== "ENOSPC") throw error;
    return path;
  } finally {
    closeSync(file);
  }
}
