import { createWriteStream } from "node:fs";
import { rename, rm } from "node:fs/promises";
import type { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { ApiError, type Client } from "./client.ts";
import { type CommandResult, lines } from "./output.ts";

export interface ExportOptions {
  out?: string;
  filter?: string;
  keyword?: string;
  sort?: string;
}

const path = "/api/v1/crm/customers/export";

/** Streams customers as CSV, or as a JSON array, to stdout or to a file, which appears once it is complete. */
export async function exportCustomers(
  client: Client,
  { out, filter, keyword, sort }: ExportOptions,
  isJson: boolean,
): Promise<CommandResult | undefined> {
  const query = { filter, keyword, sort };
  const body = isJson ? jsonArray(client, query) : await csvFile(client, query);
  const partial = out === undefined ? undefined : `${out}.part`;
  try {
    await pipeline(body, partial === undefined ? process.stdout : createWriteStream(partial), { end: partial !== undefined });
  } catch (error) {
    if (partial !== undefined) await rm(partial, { force: true });
    if (error instanceof ApiError) throw error;
    throw new ApiError(`The export was interrupted: ${(error as Error).message}`, { cause: error });
  }
  if (partial === undefined || out === undefined) return undefined;
  await rename(partial, out);
  return { data: { file: out }, show: lines(`The customers are in ${out}.`) };
}

type Query = Record<string, string | undefined>;

async function csvFile(client: Client, query: Query): Promise<Readable> {
  return (await client.stream({ path, query: { format: "csv", ...query } })).body;
}

/** The records of all pages, one per line. */
async function* jsonArray(client: Client, query: Query): AsyncGenerator<string> {
  let begin = "[\n";
  for (let cursor: string | null = ""; cursor !== null; ) {
    const page: { data: object[]; nextCursor: string | null } = await client.json({ path, query: { ...query, pageSize: "200", cursor } });
    for (const record of page.data) {
      yield begin + JSON.stringify(record);
      begin = ",\n";
    }
    cursor = page.nextCursor;
  }
  yield begin === ",\n" ? "\n]\n" : "[]\n";
}
