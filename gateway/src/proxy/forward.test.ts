import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { createServer, request as httpRequest, type IncomingMessage } from "node:http";
import { type AddressInfo, connect } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { open, sendRaw } from "@cell/http/testing/raw";
import { afterAll, beforeAll, expect, test } from "vitest";
import { reply, startTestCell, type TestCell } from "../testing/cell.ts";
import { createDatabase, createTenant, startTestGateway, type TestGateway } from "../testing/gateway.ts";

const megabyte = 1024 * 1024;
let database: string;
let cell: TestCell;
let gateway: TestGateway;
let key: string;

beforeAll(async () => {
  cell = await startTestCell();
  database = await createDatabase();
  const timeouts = { HEADERS_TIMEOUT_MS: "900", SLOW_HEADERS_TIMEOUT_MS: "5000", BODY_IDLE_TIMEOUT_MS: "900" };
  gateway = await startTestGateway(database, `crm=${cell.url}`, timeouts);
  ({ key } = await createTenant(gateway, "tenant-a"));
});

afterAll(async () => {
  await gateway.stop();
  await cell.close();
});

const call = (path: string, init: Parameters<TestGateway["call"]>[1] = {}) =>
  gateway.call(`/api/v1/crm${path}`, { key, tenantId: "tenant-a", ...init });

/** Sends a request whose body the caller writes; resolves to the response's head. */
function start(path: string, method: string, headers: Record<string, string> = {}) {
  const request = httpRequest(`${gateway.url}/api/v1/crm${path}`, {
    method,
    headers: { authorization: `Bearer ${key}`, "x-tenant-id": "tenant-a", ...headers },
  });
  const response = new Promise<IncomingMessage>((resolve, reject) => request.on("response", resolve).on("error", reject));
  response.catch(() => undefined);
  return { request, answer: response };
}

async function textOf(response: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of response) chunks.push(chunk);
  return Buffer.concat(chunks).toString();
}

test("path and query reach the cell unchanged, without the prefix", async () => {
  const tricky = "/customers/caf%C3%A9?keyword=%E5%BC%A0&x=a+b&&y=%2F..%2f&q='()\"<>";
  await sendRaw(
    gateway.url,
    `GET /api/v1/crm${tricky} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ${key}\r\nX-Tenant-Id: tenant-a\r\n\r\n`,
  );
  expect(cell.requests.at(-1)?.url).toBe(tricky);
  await gateway.call("/api/v1/crm?a=1", { key, tenantId: "tenant-a" });
  expect(cell.requests.at(-1)?.url).toBe("/?a=1");
});

test("status, headers and body of a response pass unchanged, except hop-by-hop headers", async () => {
  cell.on("/answer", (_incoming, outgoing) => {
    outgoing.writeHead(201, [
      ["content-type", "text/plain"],
      ["etag", '"3"'],
      ["set-cookie", "a=1"],
      ["set-cookie", "b=2"],
      ["x-hop", "1"],
      ["keep-alive", "timeout=99"],
      ["connection", "keep-alive, x-hop"],
    ]);
    outgoing.end("中文");
  });
  const response = await call("/answer", { headers: { "x-request-id": "r-1" } });
  expect([response.status, response.text, response.headers.get("etag")]).toEqual([201, "中文", '"3"']);
  expect(response.headers.getSetCookie()).toEqual(["a=1", "b=2"]);
  expect(response.headers.get("x-hop")).toBeNull();
  expect(response.headers.get("keep-alive")).not.toBe("timeout=99");
  expect(response.headers.get("x-request-id")).toBe("r-1");
});

test.each([0, 1, 1000, 65_536, 65_537, megabyte])("a request body of %i bytes arrives completely, sized or chunked", async (size) => {
  cell.on("/upload", async (incoming, outgoing) => {
    const chunks: Buffer[] = [];
    for await (const chunk of incoming) chunks.push(chunk);
    outgoing.end(Buffer.concat(chunks));
  });
  const sent = randomBytes(size);
  for (const [name, value] of [
    ["content-length", String(size)],
    ["transfer-encoding", "chunked"],
  ] as const) {
    const { request, answer: response } = start("/upload", "POST", { [name]: value });
    request.end(sent);
    const received: Buffer[] = [];
    for await (const chunk of await response) received.push(chunk);
    expect(Buffer.concat(received).equals(sent)).toBe(true);
  }
});

/** A figure once it has not changed for 200 ms: on a busy machine buffers take a while to fill. */
async function settled(figure: () => number): Promise<number> {
  for (let turn = 0; turn < 50; turn++) {
    const before = figure();
    await sleep(200);
    if (before > 0 && figure() === before) return before;
  }
  throw new Error("it goes on and on");
}

test("an import flows only as fast as the cell reads it", async () => {
  let incoming: IncomingMessage | undefined;
  cell.on("/customers/import", (request, outgoing) => {
    incoming = request.pause();
    request.on("end", () => reply(outgoing, 200, {}));
  });
  const { request, answer: response } = start("/customers/import", "POST", { "transfer-encoding": "chunked", "content-type": "text/csv" });
  let written = 0;
  const chunk = Buffer.alloc(64 * 1024);
  const writing = (async () => {
    while (written < 48 * megabyte) {
      written += chunk.length;
      if (!request.write(chunk)) await once(request, "drain");
    }
    request.end();
  })();
  expect(await settled(() => written)).toBeLessThan(24 * megabyte);
  incoming?.resume();
  await writing;
  expect((await response).statusCode).toBe(200);
});

test("a response flows only as fast as the caller reads it", async () => {
  let written = 0;
  const total = 64 * megabyte;
  cell.on("/customers/export", async (_incoming, outgoing) => {
    const chunk = Buffer.alloc(64 * 1024, "x");
    while (written < total) {
      written += chunk.length;
      if (!outgoing.write(chunk)) await once(outgoing, "drain");
    }
    outgoing.end();
  });
  const { request, answer: received } = start("/customers/export", "GET");
  request.end();
  const response = await received;
  response.pause();
  expect(await settled(() => written)).toBeLessThan(32 * megabyte);
  let read = 0;
  for await (const chunk of response) read += chunk.length;
  expect(read).toBe(total);
});

test("events arrive one by one, after the head, and the cell notices when the caller leaves", async () => {
  const closed = Promise.withResolvers<void>();
  let send: (text: string) => void = () => undefined;
  cell.on("/events", (_incoming, outgoing) => {
    outgoing.writeHead(200, { "content-type": "text/event-stream" });
    outgoing.flushHeaders();
    send = (text) => outgoing.write(text);
    outgoing.on("close", closed.resolve);
  });
  const { request, answer: received } = start("/events", "GET", { accept: "text/event-stream" });
  request.end();
  const response = await received;
  expect(response.headers["content-type"]).toBe("text/event-stream");
  const chunks = response.setEncoding("utf8")[Symbol.asyncIterator]();
  for (const text of ["data: 1\n\n", "data: 2\n\n"]) {
    send(text);
    expect((await chunks.next()).value).toBe(text);
  }
  request.destroy();
  await closed.promise;
});

test("a caller that leaves before the response aborts the cell's work", async () => {
  const started = Promise.withResolvers<void>();
  const aborted = Promise.withResolvers<void>();
  cell.on("/slow", (_incoming, outgoing) => {
    outgoing.on("close", aborted.resolve);
    started.resolve();
  });
  const { request } = start("/slow", "GET");
  request.on("error", () => undefined);
  request.end();
  await started.promise;
  request.destroy();
  await aborted.promise;
});

test("a cell's health and readiness need no token or tenant, and everything else does", async () => {
  const open = async (path: string, init = {}) => gateway.call(`/api/v1/crm${path}`, { key: "", ...init });
  for (const path of ["/health", "/ready", "/health/", "/ready?x=1"]) {
    const response = await open(path);
    expect([path, response.status, response.body.status]).toEqual([path, 200, path.startsWith("/health") ? "ok" : "ready"]);
    expect(response.headers.get("x-request-id")).toMatch(/^\S+$/);
    expect(response.headers.get("cache-control")).toBe("no-store");
  }
  expect((await open("/health", { key: "no-token-of-ours" })).status).toBe(200);
  expect((await open("/health", { method: "HEAD" })).text).toBe("");
  for (const path of ["/health/x", "/healthy", "/readyz", "/metrics", "/internal/tenants"]) expect((await open(path)).status).not.toBe(200);
  expect((await open("/health", { method: "POST" })).status).toBe(401);
});

test("the health of a cell is that of its worst partition, and an unreachable one is 503", async () => {
  const [first, second] = [await startTestCell(), await startTestCell()];
  const own = await createDatabase();
  const ready = async () => {
    // A gateway caches the health for a second.
    const local = await startTestGateway(own, `crm=${first.url},crm=${second.url}`);
    const response = await fetch(`${local.url}/api/v1/crm/ready`);
    const body = (await response.json()) as Record<string, unknown>;
    await local.stop();
    return { status: response.status, headers: response.headers, body };
  };
  second.ready = { status: 200, body: { status: "ready", degraded: true } };
  expect((await ready()).body).toMatchObject({ degraded: true });
  const problem = { code: "UNAVAILABLE", message: "The database is away", details: { checks: { database: "away" } } };
  first.ready = { status: 503, body: { ...problem, requestId: "of-the-cell" } };
  const unready = await ready();
  expect([unready.status, unready.body]).toEqual([503, { ...problem, requestId: unready.headers.get("x-request-id") }]);
  expect(unready.headers.get("retry-after")).toBe("1");
  await second.close();
  const away = await ready();
  expect([away.status, away.body.code, away.headers.get("retry-after")]).toEqual([503, "UNAVAILABLE", "1"]);
  await first.close();
});

test("a cell that does not respond in time is 504, and imports may take longer", async () => {
  cell.on("/late", (_incoming, outgoing) => setTimeout(() => reply(outgoing, 200, {}), 2_500));
  cell.on("/late/import", (_incoming, outgoing) => setTimeout(() => reply(outgoing, 200, {}), 2_500));
  const [late, slow] = await Promise.all([call("/late"), call("/late/import", { json: {} })]);
  expect([late.status, late.body.code]).toEqual([504, "TIMEOUT"]);
  expect(slow.status).toBe(200);
});

test("a response that stalls is cut off, not completed", async () => {
  cell.on("/stall", (_incoming, outgoing) => {
    outgoing.writeHead(200, { "content-length": "100" });
    outgoing.write("half");
  });
  const { request, answer: response } = start("/stall", "GET");
  request.end();
  await expect(response.then(textOf)).rejects.toThrow(/aborted|hang up/);
});

test("a body over the limit is 413: a sized one before anything is forwarded, a chunked one when it exceeds the limit", async () => {
  const before = cell.requests.length;
  const declared = start("/customers", "POST", { "content-length": String(megabyte + 1) });
  declared.request.write("x");
  const refused = await declared.answer;
  expect(refused.statusCode).toBe(413);
  expect(JSON.parse(await textOf(refused))).toMatchObject({ code: "PAYLOAD_TOO_LARGE", requestId: refused.headers["x-request-id"] });
  declared.request.destroy();
  expect(cell.requests.length).toBe(before);

  const declaredImport = start("/customers/import", "POST", { "content-length": String(64 * megabyte + 1) });
  declaredImport.request.write("x");
  expect((await declaredImport.answer).statusCode).toBe(413);
  declaredImport.request.destroy();

  cell.on("/swallow", (incoming) => incoming.resume());
  const streamed = start("/swallow", "POST", { "transfer-encoding": "chunked" });
  streamed.request.on("error", () => undefined);
  const chunk = Buffer.alloc(64 * 1024);
  for (let sent = 0; sent <= megabyte + chunk.length; sent += chunk.length) streamed.request.write(chunk);
  expect((await streamed.answer).statusCode).toBe(413);
  streamed.request.destroy();
});

test("a cell's early error response reaches a caller that is still sending", async () => {
  cell.on("/early/import", (_incoming, outgoing) => reply(outgoing, 403, { code: "FORBIDDEN" }));
  const { request, answer: received } = start("/early/import", "POST", { "transfer-encoding": "chunked" });
  request.on("error", () => undefined);
  request.write(Buffer.alloc(200_000));
  const response = await received;
  expect(response.statusCode).toBe(403);
  expect(await textOf(response)).toBe('{"code":"FORBIDDEN"}');
  request.destroy();
});

test("request encodings that the cell does not support are rejected", async () => {
  const gzip = await call("/customers", { json: {}, headers: { "content-encoding": "gzip" } });
  expect([gzip.status, gzip.body.code]).toEqual([415, "UNSUPPORTED_MEDIA_TYPE"]);
});

test("an unreachable cell is 503 with Retry-After, immediately", async () => {
  const away = await startTestCell();
  const local = await startTestGateway(await createDatabase(), `crm=${away.url}`);
  try {
    const { key: localKey } = await createTenant(local, "tenant-a");
    await away.close();
    for (const method of ["GET", "POST"]) {
      const startedAt = Date.now();
      const response = await local.call("/api/v1/crm/customers", { key: localKey, tenantId: "tenant-a", method });
      expect([response.status, response.body.code, response.headers.get("retry-after")]).toEqual([503, "UNAVAILABLE", "1"]);
      expect(Date.now() - startedAt).toBeLessThan(500);
    }
  } finally {
    await local.stop();
  }
});

test("a request whose connection is lost before the first byte is retried once for reads, never for writes", async () => {
  const seen: string[] = [];
  const flaky = createServer((incoming, outgoing) => {
    if (incoming.url?.startsWith("/internal")) return reply(outgoing, 200, {});
    seen.push(`${incoming.method} ${incoming.url}`);
    incoming.resume();
    if (incoming.url === "/never" || seen.length === 1) incoming.socket.destroy();
    else reply(outgoing, 200, { ok: true });
  });
  await new Promise<void>((resolve) => flaky.listen(0, "127.0.0.1", resolve));
  const url = `http://127.0.0.1:${(flaky.address() as AddressInfo).port}`;
  const local = await startTestGateway(await createDatabase(), `crm=${url}`);
  try {
    const { key: localKey } = await createTenant(local, "tenant-a");
    const ask = (path: string, method: string) => local.call(`/api/v1/crm${path}`, { key: localKey, tenantId: "tenant-a", method });
    expect((await ask("/once", "GET")).status).toBe(200);
    expect(seen.splice(0)).toEqual(["GET /once", "GET /once"]);
    expect((await ask("/never", "GET")).status).toBe(503);
    expect(seen.splice(0)).toEqual(["GET /never", "GET /never"]);
    for (const method of ["POST", "PATCH", "DELETE"]) {
      expect((await ask("/never", method)).body.code).toBe("UNAVAILABLE");
      expect(seen.splice(0)).toEqual([`${method} /never`]);
    }
  } finally {
    await local.stop();
    flaky.closeAllConnections();
    flaky.close();
  }
});

test("a caller with pipelined requests on one connection gets the responses in order", async () => {
  const { hostname, port } = new URL(gateway.url);
  const socket = connect(Number(port), hostname);
  const head = (path: string) =>
    `GET /api/v1/crm${path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ${key}\r\nX-Tenant-Id: tenant-a\r\n\r\n`;
  socket.write(["/p1", "/p2", "/p3"].map(head).join(""));
  let received = "";
  for await (const chunk of socket.setEncoding("utf8")) {
    received += chunk;
    if (received.includes("/p3")) break;
  }
  expect([...received.matchAll(/"url":"(\/p\d)"/g)].map(([, path]) => path)).toEqual(["/p1", "/p2", "/p3"]);
});

test("after SIGTERM, running requests finish and the connection is closed", async () => {
  const local = await startTestGateway(database, `crm=${cell.url}`);
  cell.on("/running", (_incoming, outgoing) => setTimeout(() => reply(outgoing, 200, { done: true }), 400));
  const running = local.call("/api/v1/crm/running", { key, tenantId: "tenant-a" });
  await sleep(100);
  const stopped = local.stop();
  const response = await running;
  expect([response.status, response.headers.get("connection")]).toEqual([200, "close"]);
  await stopped;
  const socket = open(local.url, "GET / HTTP/1.1\r\n\r\n");
  const [error] = await once(socket, "error");
  expect(error.code).toBe("ECONNREFUSED");
});
