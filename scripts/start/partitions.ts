import { join } from "node:path";
import { bootstrapDatabase } from "@cell/postgres/bootstrap";
import { type Embedded, startEmbedded } from "@cell/postgres/embedded";
import { rolePasswords, type Secrets } from "./secrets.ts";
import type { Settings } from "./settings.ts";

/** A further partition of the CRM: a PostgreSQL and a cell on it. */
export interface Partition {
  /** From crm-2 on, as in the gateway. */
  name: `crm-${number}`;
  port: number;
  /** The cell's. */
  url: string;
  /** Folder of its data and seals, below the data directory. */
  folder: string;
  database: Embedded;
  /** As the cell's role. */
  databaseUrl: string;
}

/** Starts the servers of the partitions from the second one on. Rejects with a sentence. */
export async function* openPartitions(
  { dataDir, crmPort, partitions = 1 }: Settings,
  secrets: Secrets,
  log: (line: string) => void,
  onRestart: () => void,
): AsyncGenerator<Partition> {
  for (let number = 2; number <= partitions; number++) {
    const folder = join(dataDir, `crm-${number}`);
    const port = crmPort + number - 1;
    log(`Starting the PostgreSQL of crm-${number}.`);
    const database = await startEmbedded({ dataDir: folder, log, onRestart });
    // Yielded first, so that it is stopped whatever fails later.
    const partition: Partition = { name: `crm-${number}`, port, url: `http://127.0.0.1:${port}`, folder, database, databaseUrl: "" };
    yield partition;
    const { crm } = await bootstrapDatabase({ url: database.socketUrl, passwords: rolePasswords(secrets) });
    partition.databaseUrl = crm;
  }
}
