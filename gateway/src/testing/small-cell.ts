import { hash } from "node:crypto";
import type { Duplex } from "node:stream";
import type { CellDeclaration } from "@cell/http";
import { reply, startTestCell, type TestCell } from "./cell.ts";

/** A cell that the gateway's code does not know. */
export interface SmallCell extends TestCell {
  /** Sends a line to every open event stream. */
  emit(text: string): void;
  /** Number of event streams and WebSockets open at the cell. */
  open(): number;
}

const declaration: CellDeclaration = {
  permissions: ["note:read"],
  roles: { admin: ["note:read"], auditor: ["note:read"] },
  routes: [
    { method: "GET", path: "/notes" },
    { method: "GET", path: "/small/notes", policy: { errorForm: "detail" } },
    { method: "GET", path: "/small/open", policy: { credentials: ["public"], errorForm: "error" } },
    { method: "GET", path: "/small/mixed", policy: { credentials: ["public", "session"], tenantHeader: "optional", errorForm: "success" } },
    { method: "GET", path: "/small/mine", policy: { credentials: ["customer"], tenantHeader: "optional" } },
    { method: "GET", path: "/small/events", policy: { bulkhead: "events" } },
    { method: "GET", path: "/small/socket", policy: { upgrade: true, bulkhead: "events", credentials: ["key", "customer"] } },
    {
      method: "GET",
      path: "/small/limited",
      policy: { rateClass: { name: "reports", windowSeconds: 3_600, token: 2, tenant: 3 }, errorForm: "detail" },
    },
    { method: "GET", path: "/small/hook", policy: { credentials: ["webhook"], webhook: "sender" } },
    { method: "POST", path: "/small/hook", policy: { credentials: ["webhook"], webhook: "sender", bodyLimitBytes: 100_000 } },
    { method: "POST", path: "/small/file", policy: { bodyLimitBytes: 2 * 1024 * 1024, slow: true, bulkhead: "streams" } },
  ],
};

/** Starts a cell named `small` with a public route, an event stream, a WebSocket that echoes, and routes with every kind of policy. */
export async function startSmallCell(): Promise<SmallCell> {
  const cell = await startTestCell("small");
  cell.declaration = declaration;
  const streams = new Set<{ write(text: string): unknown }>();
  let sockets = 0;
  cell.on("/small/events", (_incoming, outgoing) => {
    outgoing.writeHead(200, { "content-type": "text/event-stream" });
    outgoing.flushHeaders();
    streams.add(outgoing);
    outgoing.on("close", () => streams.delete(outgoing));
  });
  cell.on("/small/file", (incoming, outgoing) => {
    let size = 0;
    incoming.on("data", (chunk: Buffer) => (size += chunk.length)).on("end", () => reply(outgoing, 200, { size }));
  });
  cell.onUpgrade = ({ headers, url = "" }, socket) => {
    if (url.includes("refused")) {
      socket.end('HTTP/1.1 403 Forbidden\r\ncontent-type: application/json\r\ncontent-length: 22\r\n\r\n{"code":"FORBIDDEN"}  ');
      return;
    }
    const accept = hash("sha1", `${headers["sec-websocket-key"]}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`, "base64");
    socket.write(
      `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`,
    );
    sockets++;
    socket.on("end", () => socket.end());
    socket.on("close", () => sockets--);
    echo(socket);
  };
  return Object.assign(cell, {
    emit(text: string) {
      for (const stream of streams) stream.write(`data: ${text}\n\n`);
    },
    open: () => streams.size + sockets,
  });
}

/** Echoes every text; only supports short frames. */
function echo(socket: Duplex): void {
  let pending = Buffer.alloc(0);
  socket.on("data", (piece: Buffer) => {
    pending = Buffer.concat([pending, piece]);
    while (pending.length >= 6) {
      const length = (pending[1] as number) & 0x7f;
      if (pending.length < 6 + length) return;
      const mask = pending.subarray(2, 6);
      const payload = pending.subarray(6, 6 + length).map((byte, index) => byte ^ (mask[index % 4] as number));
      socket.write(Buffer.concat([Buffer.from([pending[0] as number, length]), payload]));
      if (((pending[0] as number) & 0x0f) === 8) socket.end();
      pending = pending.subarray(6 + length);
    }
  });
}
