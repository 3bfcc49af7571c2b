import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { CopyIn, copyLine } from "@cell/postgres/driver/copy";
import pg from "pg";
import { from as copyFrom } from "pg-copy-streams";
import type { Bench } from "./bench.ts";
import { besideLibrary, inProcess } from "./in-process.ts";
import type { Line } from "./report.ts";

/** Rows of one staged batch of an import. */
const rows = 1_000;

/** Sends one staged batch of an import by COPY FROM STDIN: by the product's CopyIn, and by pg-copy-streams. */
export async function copyWriters(bench: Bench): Promise<Line> {
  const lines = Buffer.from(
    Array.from({ length: rows }, (_, n) =>
      copyLine([n, JSON.stringify({ name: `某某公司 ${n}`, tags: ["vip", "new"], notes: "met at the fair" })]),
    ).join(""),
  );
  const client = new pg.Client({ connectionString: bench.stack.superuserUrlOf("postgres") });
  await client.connect();
  try {
    await client.query("create temporary table staged (row int, data text)");
    const into = "copy staged from stdin";
    const empty = () => client.query("truncate staged");
    const measured = await bench.measure({
      own: inProcess("staged rows, by the product's CopyIn", async () => {
        await client.query(new CopyIn(into, lines)).ended;
        await empty();
        return rows;
      }),
      library: inProcess("staged rows, by pg-copy-streams", async () => {
        await pipeline(Readable.from([lines]), client.query(copyFrom(into)));
        await empty();
        return rows;
      }),
    });
    return besideLibrary("W7", measured.own, measured.library, "process");
  } finally {
    await client.end();
  }
}
