import { pipeline } from "node:stream/promises";
import { fieldAccess } from "@cell/cell";
import { joinList } from "@cell/cell/csv/csv";
import { copiedCsvFile, copiedFields } from "@cell/cell/csv/export-file";
import { CopyOut } from "@cell/postgres/driver/copy";
import { typeParsers } from "@cell/postgres/driver/parsing";
import { toObjects } from "@cell/postgres/driver/rows";
import { stringify } from "csv-stringify";
import pg from "pg";
import Cursor from "pg-cursor";
import { customer } from "../../cells/crm/src/customers/schema.ts";
import type { Bench } from "./bench.ts";
import { besideLibrary, inProcess } from "./in-process.ts";
import type { Line } from "./report.ts";

const rows = 50_000;
const rowsAtOnce = 1_000;

/** A CSV of 50,000 masked customers: by COPY and the product's rewriter, and by pg-cursor, objects and csv-stringify, formulas guarded. */
export async function csvWriters(bench: Bench, tenantId: string): Promise<Line> {
  const connectionString = bench.stack.urlOf(tenantId);
  const access = fieldAccess({ permissions: [], scope: "tenant" } as never, "list");
  const fields = copiedFields(customer, access);
  const select = (names: readonly string[]) =>
    `select ${names.map((name) => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)).join(", ")}
     from "tenant_${tenantId.replaceAll("-", "_")}".customers order by created_at, customer_id limit ${rows}`;
  const client = new pg.Client({ connectionString, types: typeParsers });
  await client.connect();
  try {
    const byRewriter = async () => {
      const copied = client.query(new CopyOut(select(fields), "csv"));
      const types = {
        customerId: "uuid",
        tags: "texts",
        customFields: "json",
        createdAt: "time",
        updatedAt: "time",
        version: "integer",
      } as const;
      const file = copiedCsvFile(readAll(copied), {
        resource: customer,
        types,
        fieldAccess: access,
        tenantId,
        bom: false,
        ended: async () => undefined,
      });
      for await (const piece of file) if (piece.length === 0) throw new Error("An empty piece");
      return rows;
    };
    const byLibrary = async () => {
      const cursor = client.query(new Cursor<unknown[]>(select(fields), [], { rowMode: "array" }));
      const writer = stringify({
        header: true,
        columns: [...customer.fields],
        escape_formulas: true,
        record_delimiter: "windows",
        cast: { object: cellOf },
      });
      let bytes = 0;
      writer.on("data", (piece: Buffer) => {
        bytes += piece.length;
      });
      await pipeline(async function* () {
        for (let batch = await cursor.read(rowsAtOnce); batch.length > 0; batch = await cursor.read(rowsAtOnce))
          for (const row of toObjects<object>(fields, batch)) yield customer.present(row as never, access, tenantId);
      }, writer);
      await cursor.close();
      if (bytes === 0) throw new Error("The file is empty");
      return rows;
    };
    const measured = await bench.measure({
      own: inProcess("CSV rows, by COPY and the product's rewriter", byRewriter),
      library: inProcess("CSV rows, by pg-cursor and csv-stringify", byLibrary),
    });
    return besideLibrary("W8", measured.own, measured.library, "process");
  } finally {
    await client.end();
  }
}

function cellOf(value: unknown): string {
  if (Array.isArray(value)) return joinList(value as string[]);
  return Object.keys(value as object).length === 0 ? "" : JSON.stringify(value);
}

async function* readAll(copied: CopyOut): AsyncGenerator<Buffer> {
  for (let piece = await copied.read(); piece; piece = await copied.read()) yield piece;
}
