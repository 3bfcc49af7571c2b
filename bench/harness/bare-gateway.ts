import { createServer } from "node:http";
import { ConnectionPool } from "../../gateway/src/proxy/http1/pool.ts";

/** The least that a gateway of Node does: node:http on one side, the product's transport on the other, and nothing in between. */
const { PORT, HOST, CELL = "" } = process.env as NodeJS.ProcessEnv & Record<string, string>;
const pool = new ConnectionPool(CELL, { connectMs: 1_000, bodyIdleMs: 60_000 });

const server = createServer((incoming, outgoing) => {
  const request = { method: incoming.method ?? "", path: incoming.url ?? "", headers: [], body: undefined, headersMs: 60_000 };
  const connection = pool.send(request, {
    onRequestSent() {},
    onResponseStart: ({ status, length }) =>
      outgoing.writeHead(status, { "content-type": "application/json", "content-length": length ?? 0 }),
    onResponseBody: (body) => outgoing.end(body, "latin1"),
    onResponseData: (piece) => outgoing.write(piece, () => connection.resume()),
    onResponseEnd: () => outgoing.end(),
    onResponseError: () => outgoing.destroy(),
  });
});
server.keepAliveTimeout = 65_000;
server.listen(Number(PORT), HOST);
process.once("SIGTERM", () => process.exit(0));
