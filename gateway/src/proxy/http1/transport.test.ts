import { once } from "node:events";
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import fc from "fast-check";
import { afterEach, expect, test } from "vitest";
import { TransportError, type UpstreamRequest } from "./connection.ts";
import { ConnectionPool } from "./pool.ts";
import type { ResponseHead } from "./response-head.ts";

let server: Server | undefined;
let pool: ConnectionPool | undefined;
afterEach(async () => {
  pool?.destroy();
  server?.close();
});

/** A server that treats each connection as given, and a pool of connections to it. */
async function listen(treat: (socket: Socket) => void, times = { connectMs: 1_000, bodyIdleMs: 300 }): Promise<ConnectionPool> {
  server = createServer(treat).listen(0, "127.0.0.1");
  await once(server, "listening");
  pool = new ConnectionPool(`http://127.0.0.1:${(server.address() as AddressInfo).port}`, times);
  return pool;
}

interface Taken {
  head: ResponseHead | undefined;
  body: string;
  error: Error | undefined;
}

/** Sends a request; resolves when nothing more arrives. */
function ask(from: ConnectionPool, request: Partial<UpstreamRequest> = {}): Promise<Taken> {
  return new Promise((resolve) => {
    const taken: Taken = { head: undefined, body: "", error: undefined };
    let hasEnded = false;
    const connection = from.send(
      { method: "GET", path: "/", headers: [], body: undefined, headersMs: 300, ...request },
      {
        onRequestSent() {},
        onResponseStart(head) {
          taken.head = head;
        },
        onResponseBody(body) {
          resolve({ ...taken, body });
        },
        onResponseData(piece) {
          // Read as late as allowed: nothing must have overwritten it by then.
          setImmediate(() => {
            taken.body += piece.toString("latin1");
            if (!hasEnded) connection.resume();
          });
        },
        onResponseEnd() {
          hasEnded = true;
          setImmediate(() => resolve(taken));
        },
        onResponseError(error) {
          resolve({ ...taken, error });
        },
      },
    );
  });
}

const heads = fc.record({
  status: fc.constantFrom(200, 201, 404, 503),
  body: fc.string({ maxLength: 300 }),
  chunks: fc.option(fc.array(fc.integer({ min: 1, max: 60 }), { maxLength: 8 }), { nil: undefined }),
  cuts: fc.array(fc.nat(600), { maxLength: 12 }),
});

/** The bytes of a response: with its length, or in chunks of these sizes. */
function written({ status, body, chunks }: { status: number; body: string; chunks: number[] | undefined }): Buffer {
  const bytes = Buffer.from(body);
  const start = `HTTP/1.1 ${status} Some Words\r\nX-One: 1\r\n`;
  if (!chunks) return Buffer.concat([Buffer.from(`${start}Content-Length: ${bytes.length}\r\n\r\n`), bytes]);
  const parts = [Buffer.from(`${start}Transfer-Encoding: chunked\r\n\r\n`)];
  let at = 0;
  for (const size of [...chunks, bytes.length]) {
    const piece = bytes.subarray(at, at + size);
    at += piece.length;
    if (piece.length > 0) parts.push(Buffer.from(`${piece.length.toString(16)};x=y\r\n`), piece, Buffer.from("\r\n"));
  }
  return Buffer.concat([...parts, Buffer.from("0\r\nX-Trailer: dropped\r\n\r\n")]);
}

test("a response is the same however it is framed and split", async () => {
  let response: Buffer[] = [];
  const to = await listen((socket) => {
    socket.on("error", () => undefined);
    socket.on("data", async () => {
      for (const part of response) {
        socket.write(part);
        await new Promise(setImmediate);
      }
    });
  });
  await fc.assert(
    fc.asyncProperty(heads, async (given) => {
      const bytes = written(given);
      const cuts = [0, ...given.cuts.filter((cut) => cut < bytes.length).sort((one, other) => one - other), bytes.length];
      response = cuts.slice(1).map((cut, index) => bytes.subarray(cuts[index], cut));
      const { head, body, error } = await ask(to);
      expect(error).toBeUndefined();
      expect(head?.status).toBe(given.status);
      expect(head?.headers.slice(0, 2)).toEqual(["x-one", "1"]);
      expect(Buffer.from(body, "latin1").toString()).toBe(Buffer.from(given.body).toString());
    }),
    { numRuns: 150 },
  );
});

const ok = "HTTP/1.1 200 OK\r\n";
test.each([
  ["no HTTP at all", "SSH-2.0-OpenSSH\r\n\r\n"],
  ["another version", "HTTP/2 200\r\n\r\n"],
  ["two lengths", `${ok}Content-Length: 1\r\nContent-Length: 1\r\n\r\nx`],
  ["a length that is none", `${ok}Content-Length: +1\r\n\r\nx`],
  ["a length beside chunks", `${ok}Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n`],
  ["an encoding that is not known", `${ok}Transfer-Encoding: gzip, chunked\r\n\r\n`],
  ["a folded header", `${ok}X: 1\r\n folded\r\nContent-Length: 0\r\n\r\n`],
  ["a space before a colon", `${ok}X : 1\r\nContent-Length: 0\r\n\r\n`],
  ["a bare carriage return in a value", `${ok}X: 1\r2\r\nContent-Length: 0\r\n\r\n`],
  ["a body without a length", `${ok}\r\nhello`],
  ["more than its length", `${ok}Content-Length: 1\r\n\r\nxHTTP/1.1 200 OK\r\n`],
  ["a chunk's size that is none", `${ok}Transfer-Encoding: chunked\r\n\r\n0x1\r\na\r\n0\r\n\r\n`],
  ["a chunk longer than its size", `${ok}Transfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n`],
  ["a bare line feed", `${ok}Transfer-Encoding: chunked\r\n\r\n1\na\r\n0\r\n\r\n`],
  ["an upgrade", "HTTP/1.1 101 Switching Protocols\r\n\r\n"],
  ["a head without an end", `${ok}X: ${"x".repeat(70_000)}`],
])("an answer with %s is malformed, and its connection is not used again", async (_, text) => {
  let connections = 0;
  const to = await listen((socket) => {
    connections++;
    socket.on("error", () => undefined);
    const response = connections === 1 ? text : `${ok}Content-Length: 2\r\n\r\nok`;
    socket.on("data", () => socket.write(response, "latin1"));
  });
  expect((await ask(to)).error).toMatchObject({ fault: "malformed" });
  expect(await ask(to)).toMatchObject({ body: "ok", error: undefined });
  expect(connections).toBe(2);
});

test("unsolicited bytes on a connection are not the response to the next request", async () => {
  let connections = 0;
  const to = await listen((socket) => {
    const name = String(++connections);
    socket.on("error", () => undefined);
    socket.on("data", () => {
      socket.write(`${ok}Content-Length: 1\r\n\r\n${name}`);
      if (name === "1") setTimeout(() => socket.write(`${ok}Content-Length: 5\r\n\r\nfalse`), 20);
    });
  });
  expect((await ask(to)).body).toBe("1");
  await new Promise((resolve) => setTimeout(resolve, 60));
  expect((await ask(to)).body).toBe("2");
});

test.each([
  ["nothing for too long", () => undefined, "timeout"],
  ["an end before the answer", (socket: Socket) => socket.end(), "reset"],
  ["an end within the answer", (socket: Socket) => socket.end(`${ok}Content-Length: 9\r\n\r\nhalf`), "reset"],
  ["a body that stops", (socket: Socket) => socket.write(`${ok}Content-Length: 9\r\n\r\nhalf`), "timeout"],
] as const)("%s is told as what it is", async (_, response, fault) => {
  const to = await listen((socket) => {
    socket.on("error", () => undefined);
    socket.on("data", () => response(socket));
  });
  const { error } = await ask(to);
  expect(error).toBeInstanceOf(TransportError);
  expect(error).toMatchObject({ fault });
});

test("a port without a listener is a connection fault", async () => {
  const to = await listen(() => undefined);
  server?.close();
  await once(server as Server, "close");
  expect((await ask(to)).error).toMatchObject({ fault: "connect" });
});

test("the pool respects the cell's keep-alive timeout and Connection: close", async () => {
  let connections = 0;
  const to = await listen((socket) => {
    connections++;
    const last = connections === 1 ? "Keep-Alive: timeout=1" : connections === 2 ? "Connection: close" : "Keep-Alive: timeout=60";
    socket.on("data", () => socket.write(`${ok}${last}\r\nContent-Length: 0\r\n\r\n`));
  });
  for (let turn = 0; turn < 5; turn++) expect((await ask(to)).error).toBeUndefined();
  expect(connections).toBe(3);
});

test("a streamed body arrives completely, sized or chunked; an early response ends it", async () => {
  const received: Buffer[] = [];
  let respondedAt = "end";
  const to = await listen((socket) => {
    socket.on("error", () => undefined);
    socket.on("data", (piece: Buffer) => {
      received.push(piece);
      const text = Buffer.concat(received).toString("latin1");
      if (text.includes(respondedAt)) socket.write(`HTTP/1.1 ${respondedAt === "xxx" ? 413 : 200} Words\r\nContent-Length: 0\r\n\r\n`);
    });
  });
  async function* body(pieces: number, last: string) {
    for (let piece = 0; piece < pieces; piece++) {
      yield Buffer.alloc(1_000, "x");
      await new Promise(setImmediate);
    }
    yield Buffer.from(last);
  }
  expect((await ask(to, { method: "POST", body: body(20, "end"), length: 20_003 })).head?.status).toBe(200);
  expect(Buffer.concat(received).toString("latin1")).toMatch(/content-length: 20003\r\n\r\nx{20000}end$/);
  received.length = 0;
  respondedAt = "\r\n0\r\n\r\n";
  expect((await ask(to, { method: "POST", body: body(2, "end") })).head?.status).toBe(200);
  expect(Buffer.concat(received).toString("latin1")).toMatch(/chunked\r\n\r\n(3e8\r\nx{1000}\r\n){2}3\r\nend\r\n0\r\n\r\n$/);
  received.length = 0;
  respondedAt = "xxx";
  const endless = (async function* () {
    for (;;) {
      yield Buffer.alloc(1_000, "x");
      await new Promise(setImmediate);
    }
  })();
  expect((await ask(to, { method: "POST", body: endless })).head?.status).toBe(413);
  await new Promise((resolve) => setTimeout(resolve, 50));
  // The iterator was ended, not left pending.
  expect((await endless.next()).done).toBe(true);
});
