import { createWriteStream } from "node:fs";
import { rename, rm } from "node:fs/promises";
import { pipeline } from "node:stream/promises";
import { CallError, type Client } from "./client.ts";

export interface ExportOptions {
  out?: string;
  filter?: string;
  keyword?: string;
  sort?: string;
}

/** Streams the customers as CSV to a file, which appears when it is whole, or to stdout. */
export async function exportCustomers(client: Client, { out, filter, keyword, sort }: ExportOptions): Promise<void> {
  const { body } = await client.stream({ path: "/api/v1/crm/customers/export", query: { format: "csv", filter, keyword, sort } });
  const partial = out === undefined ? undefined : `${out}.part`;
  try {
    await pipeline(body, partial === undefined ? process.stdout : createWriteStream(partial), { end: partial !== undefined });
  } catch (error) {
    if (partial !== undefined) await rm(partial, { force: true });
    throw new CallError(`The export broke off: ${(error as Error).message}`, { cause: error });
  }
  if (partial === undefined || out === undefined) return;
  await rename(partial, out);
  console.error(`The customers are in ${out}.`);
}
