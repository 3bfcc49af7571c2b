import { join } from "node:path";
import { type Embedded, startEmbedded } from "@cell/postgres/embedded";
import type { Settings } from "./settings.ts";

/** A partition of the CRM beyond the first one: a PostgreSQL of its own, and a cell on it. */
export interface Partition {
  /** From crm-2 on, as the gateway names it. */
  name: `crm-${number}`;
  port: number;
  /** The cell's. */
  url: string;
  /** Where its data and seals are, below the data directory. */
  folder: string;
  database: Embedded;
}

/** Starts the servers of the partitions from the second one on. Rejects with a sentence. */
export async function* openPartitions(
  { dataDir, crmPort, partitions = 1 }: Settings,
  log: (line: string) => void,
  onRestart: () => void,
): AsyncGenerator<Partition> {
  for (let number = 2; number <= partitions; number++) {
    const folder = join(dataDir, `crm-${number}`);
    const port = crmPort + number - 1;
    const database = await startEmbedded({ dataDir: folder, log, onRestart });
    yield { name: `crm-${number}`, port, url: `http://127.0.0.1:${port}`, folder, database };
  }
}
