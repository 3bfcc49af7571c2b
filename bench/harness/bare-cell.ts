import { createServer } from "node:http";
import pg from "pg";

/**
 * The minimum of a read in Node: node:http, two pipelined connections, one named statement, and its rows as JSON. No token, tenant,
 * permission, validation, masking, audit, metrics or limits. The statement's only parameter is the path's last segment.
 */
const { PORT, HOST, DATABASE_URL, STATEMENT = "" } = process.env as NodeJS.ProcessEnv & Record<string, string>;
const options: pg.ClientConfig & { pipeline: boolean } = { connectionString: DATABASE_URL ?? "", pipeline: true };
const clients = [new pg.Client(options), new pg.Client(options)];
for (const client of clients) await client.connect();
let turn = 0;

const server = createServer(async (incoming, outgoing) => {
  const client = clients[turn++ % clients.length] as pg.Client;
  const id = (incoming.url ?? "").split("/").at(-1);
  const { rows } = await client.query({ name: "read", text: STATEMENT, values: [id] });
  const body = JSON.stringify(rows[0] ?? null);
  outgoing.writeHead(200, { "content-type": "application/json; charset=utf-8", "content-length": Buffer.byteLength(body) });
  outgoing.end(body);
});
server.keepAliveTimeout = 65_000;
server.listen(Number(PORT), HOST);
process.once("SIGTERM", () => process.exit(0));
