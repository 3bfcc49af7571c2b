import { fieldAccess } from "@cell/cell";
import { rowsWriter } from "@cell/cell/lists/rows-json";
import { readDataRows } from "@cell/postgres/driver/message-reader";
import { typeParsers } from "@cell/postgres/driver/parsing";
import { PreparedStatements } from "@cell/postgres/driver/prepared";
import { toObjects } from "@cell/postgres/driver/rows";
import pg from "pg";
import { customer } from "../../cells/crm/src/customers/schema.ts";
import type { Bench } from "./bench.ts";
import { besideLibrary, inProcess } from "./in-process.ts";
import type { Line } from "./report.ts";

const rest = { total: 100_000, page: 1, pageSize: 20, nextCursor: null };

/**
 * A page of 20 masked customers from the database to JSON: by the product's driver and writer, and by pg, objects and JSON.stringify.
 * Both must give the same JSON.
 */
export async function listWriters(bench: Bench, tenantId: string): Promise<Line> {
  const columns = customer.fields.filter((field) => field !== "tenantId");
  const names = columns.map((field) => field.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`));
  const text = `select ${names.join(", ")} from "tenant_${tenantId.replaceAll("-", "_")}".customers order by created_at, customer_id limit 20`;
  const connectionString = bench.stack.urlOf(tenantId);
  const access = fieldAccess({ permissions: [], scope: "tenant" } as never, "list");
  const [own, library] = [new pg.Client({ connectionString, types: typeParsers }), new pg.Client({ connectionString, types: typeParsers })];
  await Promise.all([own.connect(), library.connect()]);
  try {
    readDataRows((own as unknown as { connection: pg.Connection }).connection);
    const statements = new PreparedStatements(own, 10);
    const byWriter = async () => {
      const rows = await statements.admit({ name: "page", text, values: [], queryMode: "extended" }, 5_000).run(own);
      return rowsWriter.list(customer, rows as never, access, tenantId, rest);
    };
    const byObjects = async () => {
      const { rows } = await library.query<unknown[]>({ name: "page", text, values: [], rowMode: "array" });
      const data = toObjects<object>(columns, rows).map((row) => customer.present(row as never, access, tenantId));
      return JSON.stringify({ data, ...rest });
    };
    const [written, stringified] = [Buffer.from(await byWriter(), "latin1").toString(), await byObjects()];
    if (JSON.stringify(JSON.parse(written)) !== stringified) throw new Error("The two pages differ");
    const measured = await bench.measure({
      own: inProcess("page of 20, by the product's driver and writer", () => byWriter().then(() => 1)),
      library: inProcess("page of 20, by pg and JSON.stringify", () => byObjects().then(() => 1)),
    });
    return besideLibrary("W3", measured.own, measured.library, "process");
  } finally {
    await Promise.all([own.end(), library.end()]);
  }
}
