import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { Pool } from "undici";
import { ConnectionPool } from "../../gateway/src/proxy/http1/pool.ts";

/**
 * The minimum of a gateway in Node: node:http on one side, a transport on the other, and nothing between. TRANSPORT: `own` is the
 * product's, `undici` that library's dispatcher.
 */
const { PORT, HOST, CELL = "", TRANSPORT = "own" } = process.env as NodeJS.ProcessEnv & Record<string, string>;

type Send = (incoming: IncomingMessage, outgoing: ServerResponse) => void;

function ownTransport(): Send {
  const pool = new ConnectionPool(CELL, { connectMs: 1_000, bodyIdleMs: 60_000 });
  return (incoming, outgoing) => {
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
  };
}

function undiciTransport(): Send {
  const pool = new Pool(CELL, { connections: 256, pipelining: 1, headersTimeout: 60_000, bodyTimeout: 60_000 });
  return (incoming, outgoing) => {
    pool.dispatch(
      { method: "GET", path: incoming.url ?? "" },
      {
        onRequestStart() {},
        onResponseStart: (_, status, headers) =>
          outgoing.writeHead(status, { "content-type": "application/json", "content-length": String(headers["content-length"] ?? 0) }),
        onResponseData(controller, piece) {
          if (outgoing.write(piece)) return;
          controller.pause();
          outgoing.once("drain", () => controller.resume());
        },
        onResponseEnd: () => outgoing.end(),
        onResponseError: () => outgoing.destroy(),
      },
    );
  };
}

const server = createServer(TRANSPORT === "undici" ? undiciTransport() : ownTransport());
server.keepAliveTimeout = 65_000;
server.listen(Number(PORT), HOST);
process.once("SIGTERM", () => process.exit(0));
