import { createHmac } from "node:crypto";
import { once } from "node:events";
import { request as httpRequest, type IncomingMessage } from "node:http";
import { type AddressInfo, connect, createServer, type Server } from "node:net";
import { sendRaw } from "@cell/http/testing/raw";
import { openKysely } from "@cell/postgres/control";
import { Problem } from "@cell/problem";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Access } from "../auth/access.ts";
import { AuthenticationError } from "../auth/authentication-error.ts";
import type { CredentialVerifier } from "../auth/credentials.ts";
import type { Tables } from "../control-plane/tables.ts";
import type { GatewayExtensions } from "../extensions.ts";
import { createDatabase, createTenant, issueKey, readMetric, startTestGateway, type TestGateway } from "../testing/gateway.ts";
import { type SmallCell, startSmallCell } from "../testing/small-cell.ts";
import type { WebhookVerifier } from "./webhooks.ts";

let cell: SmallCell;
let gateway: TestGateway;
let database: string;
let key: string;

const secret = "the sender's secret";
const prefixes = "small=/small,small=/deep/small";

/** A verifier of tokens `<class>_<tenant>`, as a cell with its own tokens would add one. */
function verifierOf(credential: "session" | "customer"): CredentialVerifier {
  return {
    credential,
    recognises: (token) => token.startsWith(`${credential}_`),
    async verify(token): Promise<Access> {
      const tenantId = token.slice(credential.length + 1);
      if (tenantId === "nobody") throw new AuthenticationError("This token is not known", { cacheable: true });
      return {
        operator: false,
        credential,
        tokenId: `${credential}:${tenantId}`,
        principal: { tenantId, userId: `${credential}-1`, actorType: "user", permissions: [], scope: "own", credential },
        actAs: false,
        suspended: false,
        rateLimit: null,
        placements: new Map([["small", cell.url]]),
        acting: new Map(),
        expiresAtMs: tenantId.startsWith("brief") ? Date.now() + 500 : Number.POSITIVE_INFINITY,
      };
    },
  };
}

const sender: WebhookVerifier = {
  name: "sender",
  challenge({ query }) {
    if (query.get("token") !== secret) throw new Problem("UNAUTHORIZED", "The token is not ours");
    return query.get("challenge") ?? "";
  },
  async verify({ body, headers }) {
    const signature = createHmac("sha256", secret).update(body).digest("hex");
    if (headers["x-signature"] !== signature) throw new Problem("UNAUTHORIZED", "The signature does not fit");
    const parts = JSON.parse(body.toString()) as Record<string, unknown>;
    return Object.entries(parts).map(([tenantId, part]) => ({ tenantId, body: Buffer.from(JSON.stringify(part)) }));
  },
};

const extensions: GatewayExtensions = {
  verifiers: [verifierOf("session"), verifierOf("customer")],
  publicTenants: [({ query }) => query.get("site")?.replace("site-of-", "") ?? undefined],
  webhooks: [sender],
};

beforeAll(async () => {
  cell = await startSmallCell();
  database = await createDatabase();
  gateway = await startTestGateway(database, `small=${cell.url}`, { CELL_PREFIXES: prefixes, OPEN_STREAMS_TOKEN: "3" }, extensions);
  ({ key } = await createTenant(gateway, "tenant-a"));
  await createTenant(gateway, "tenant-b");
});

afterAll(async () => {
  await gateway.stop();
  await cell.close();
});

const call = (path: string, init: Parameters<TestGateway["call"]>[1] = {}) => gateway.call(path, { key, tenantId: "tenant-a", ...init });
const lastCaller = () => cell.requests.at(-1)?.caller.principal;

test("a cell with its own prefix receives the whole path below it, and below /api/v1 the path without the prefix", async () => {
  expect((await call("/small/notes?x=1")).status).toBe(200);
  expect(cell.requests.at(-1)?.url).toBe("/small/notes?x=1");
  await call("/api/v1/small/notes");
  expect(cell.requests.at(-1)?.url).toBe("/notes");
  await call("/deep/small/a%20b");
  expect(cell.requests.at(-1)?.url).toBe("/deep/small/a%20b");
  for (const path of ["/smaller/notes", "/deep/notes", "/Small/notes", "/%73mall/notes"]) expect((await call(path)).status).toBe(404);
});

test("roles have the permissions that the cell declares, and keys can have no others", async () => {
  await call("/small/notes");
  expect(lastCaller()?.permissions).toContain("note:read");
  const { key: sales } = await issueKey(gateway, { tenantId: "tenant-a", userId: "sales-1", role: "sales" });
  await call("/small/notes", { key: sales });
  expect(lastCaller()?.permissions).not.toContain("note:read");
  const issue = (permissions: string[]) =>
    gateway.call("/api/admin/keys", { json: { tenantId: "tenant-a", userId: "u", role: "sales", permissions } });
  expect((await issue(["note:read"])).status).toBe(201);
  const refused = await issue(["note:read", "note:write", "crm:read"]);
  expect([refused.status, refused.body.details]).toMatchObject([400, { fields: [{ path: "permissions.1" }, { path: "permissions.2" }] }]);
});

test("a public route accepts a caller without a credential, for the request's tenant and without permissions", async () => {
  const open = (path: string, headers: Record<string, string> = {}) => gateway.call(path, { key: "", headers });
  expect((await open("/small/open", { "x-tenant-id": "tenant-a", "x-user-id": "admin" })).status).toBe(200);
  expect(lastCaller()).toMatchObject({ tenantId: "tenant-a", userId: "public", permissions: [], scope: "own", credential: "public" });
  expect((await open("/small/open?site=site-of-tenant-b")).status).toBe(200);
  expect(lastCaller()?.tenantId).toBe("tenant-b");
  const unnamed = await open("/small/open");
  expect([unnamed.status, unnamed.body]).toMatchObject([400, { success: false, error: unnamed.body.message }]);
  const unknown = await open("/small/open", { "x-tenant-id": "nobody" });
  expect([unknown.status, unknown.body.code]).toEqual([404, "NOT_FOUND"]);
  expect((await call("/small/open")).status).toBe(200);
  expect(lastCaller()).toMatchObject({ userId: "user-001", credential: "key" });
  const wrong = await call("/small/open", { key: "crm_live_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA" });
  expect(wrong.status).toBe(401);
});

test("a route without a declaration only accepts API keys, access tokens and session tokens", async () => {
  const before = cell.requests.length;
  expect((await gateway.call("/small/else", { key: "", headers: { "x-tenant-id": "tenant-a" } })).status).toBe(401);
  expect((await call("/small/else", { key: "customer_tenant-a" })).status).toBe(403);
  expect(cell.requests.length).toBe(before);
  expect((await call("/small/else", { key: "session_tenant-a" })).status).toBe(200);
});

test("a credential of a class that a route does not accept is rejected before the cell, and the assertion names the class of others", async () => {
  expect((await call("/small/mine", { key: "customer_tenant-a", tenantId: "" })).status).toBe(200);
  expect(lastCaller()).toMatchObject({ tenantId: "tenant-a", userId: "customer-1", credential: "customer" });
  const refused = await call("/small/mine");
  expect([refused.status, refused.body]).toMatchObject([
    403,
    { code: "FORBIDDEN", message: "This path does not take an API key; it takes a customer token" },
  ]);
  expect((await call("/small/mixed", { key: "session_tenant-a", tenantId: "" })).status).toBe(200);
  expect(lastCaller()?.credential).toBe("session");
  expect((await call("/small/mine", { key: "customer_nobody" })).status).toBe(401);
  expect((await call("/small/mine", { key: "customer_tenant-a", tenantId: "tenant-b" })).body.code).toBe("TENANT_MISMATCH");
});

test("the gateway's own errors have the route's declared form, and always the common fields", async () => {
  const refused = async (path: string, init = {}) => (await gateway.call(path, { key: "", tenantId: "tenant-a", ...init })).body;
  const fields = { code: "UNAUTHORIZED", message: expect.any(String), requestId: expect.any(String) };
  const detail = await refused("/small/notes");
  expect(detail).toEqual({ ...fields, detail: detail.message });
  const plain = await refused("/small/else");
  expect(plain).toEqual(fields);
  const mixed = await gateway.call("/small/mixed", { key: "customer_nobody" });
  expect(mixed.body).toEqual({ ...fields, success: false });
  const unreadable = await gateway.call("/small/open", { headers: { "x-request-id": "no spaces" } });
  expect([unreadable.status, unreadable.body]).toMatchObject([400, { success: false, error: unreadable.body.message }]);
  expect((await call("/small/notes", { method: "PURGE" })).body.detail).toBeUndefined();
});

test("a rate class limits its routes by a sliding window, per token and tenant, besides the limits per second", async () => {
  const { key: one } = await createTenant(gateway, "limited");
  const { key: other } = await issueKey(gateway, { tenantId: "limited", userId: "u2" });
  const ask = (token: string) => gateway.call("/small/limited", { key: token, tenantId: "limited" });
  const first = await ask(one);
  expect(first.headers.get("ratelimit-policy")).toBe('"reports-token";q=2;w=3600, "reports-tenant";q=3;w=3600');
  expect(first.headers.get("ratelimit")).toMatch(/^"reports-token";r=1;t=3\d{3}, "reports-tenant";r=2;t=3\d{3}$/);
  expect((await ask(one)).status).toBe(200);
  const refused = await ask(one);
  expect([refused.status, refused.body]).toMatchObject([
    429,
    { detail: refused.body.message, details: { limit: "reports-token", requests: 2, windowSeconds: 3_600 } },
  ]);
  expect(Number(refused.headers.get("retry-after"))).toBeGreaterThan(1_000);
  expect((await ask(other)).status).toBe(200);
  expect((await ask(other)).body.details).toMatchObject({ limit: "reports-tenant" });
  expect((await gateway.call("/small/notes", { key: one, tenantId: "limited" })).status).toBe(200);
});

test("each route can have its own body limit", async () => {
  const size = 1_500_000;
  const send = async (path: string) => {
    const request = httpRequest(gateway.url + path, {
      method: "POST",
      headers: { authorization: `Bearer ${key}`, "x-tenant-id": "tenant-a", "content-length": size },
    });
    request.on("error", () => undefined);
    request.end(Buffer.alloc(size));
    const [response] = (await once(request, "response")) as [IncomingMessage];
    response.resume();
    return response.statusCode;
  };
  expect(await send("/small/file")).toBe(200);
  expect(await send("/small/notes")).toBe(413);
});

/** Opens an event stream and collects its data until it ends. */
async function openEvents(path: string, headers: Record<string, string> = {}) {
  const request = httpRequest(gateway.url + path, { headers });
  request.on("error", () => undefined);
  request.end();
  const [response] = (await once(request, "response")) as [IncomingMessage];
  const stream = { response, text: "", ended: false, close: () => request.destroy() };
  response.setEncoding("utf8").on("data", (text: string) => (stream.text += text));
  response.on("close", () => (stream.ended = true));
  response.on("error", () => undefined);
  return stream;
}

const withKey = (token = key) => ({ authorization: `Bearer ${token}`, "x-tenant-id": "tenant-a" });
const openCount = (kind: string) => readMetric(gateway, `gateway_open_streams{kind="${kind}"}`);

test("an event stream is forwarded piece by piece whatever Accept says, is counted, and ends at the cell when its reader leaves", async () => {
  const stream = await openEvents("/small/events", { ...withKey(), accept: "*/*" });
  expect(stream.response.headers["content-type"]).toBe("text/event-stream");
  await expect.poll(() => cell.open()).toBe(1);
  expect(await openCount("events")).toBe(1);
  cell.emit("one");
  await expect.poll(() => stream.text).toBe("data: one\n\n");
  cell.emit("two");
  await expect.poll(() => stream.text).toContain("two");
  stream.close();
  await expect.poll(() => cell.open()).toBe(0);
  await expect.poll(() => openCount("events")).toBe(0);
});

test("?token= is only accepted for event streams and WebSockets, names the tenant, and does not reach the cell", async () => {
  const stream = await openEvents(`/small/events?after=5&token=${key}&x=%20`);
  expect(stream.response.statusCode).toBe(200);
  expect(cell.requests.at(-1)?.url).toBe("/small/events?after=5&x=%20");
  stream.close();
  const encoded = await openEvents(`/small/events?%74oken=${key}`);
  expect(cell.requests.at(-1)?.url).toBe("/small/events");
  encoded.close();
  const twice = await openEvents(`/small/events?token=${key}&token=${key}`);
  expect(twice.response.statusCode).toBe(400);
  expect((await gateway.call(`/small/notes?token=${key}`, { key: "", tenantId: "tenant-a" })).status).toBe(401);
  await expect.poll(() => cell.open()).toBe(0);
});

test("event streams are limited per token, and one that has ended makes room", async () => {
  const before = await readMetric(gateway, 'gateway_refused_streams_total{limit="token"}');
  const streams = [];
  for (let opened = 0; opened < 3; opened++) streams.push(await openEvents("/small/events", withKey()));
  const refused = await openEvents("/small/events", withKey());
  expect(refused.response.statusCode).toBe(429);
  await expect.poll(() => refused.text).toContain("RATE_LIMITED");
  expect(await readMetric(gateway, 'gateway_refused_streams_total{limit="token"}')).toBe(before + 1);
  streams.pop()?.close();
  await expect.poll(() => openCount("events")).toBe(2);
  const again = await openEvents("/small/events", withKey());
  expect(again.response.statusCode).toBe(200);
  for (const stream of [...streams, again]) stream.close();
  await expect.poll(() => openCount("events")).toBe(0);
});

test("an event stream ends when its key is revoked, and others continue", async () => {
  const doomed = await issueKey(gateway, { tenantId: "tenant-a", userId: "doomed" });
  const [ending, staying] = [await openEvents("/small/events", withKey(doomed.key)), await openEvents("/small/events", withKey())];
  await gateway.call(`/api/admin/keys/${doomed.keyId}`, { method: "DELETE" });
  await expect.poll(() => ending.ended, { timeout: 5_000 }).toBe(true);
  expect(staying.ended).toBe(false);
  cell.emit("still here");
  await expect.poll(() => staying.text).toContain("still here");
  staying.close();
});

/** Opens a WebSocket like a browser; resolves when it is open, rejects if it fails. */
function openSocket(path: string, url = gateway.url): Promise<WebSocket> {
  const socket = new WebSocket(url.replace("http", "ws") + path);
  return new Promise((resolve, reject) => {
    socket.addEventListener("open", () => resolve(socket));
    socket.addEventListener("error", () => reject(new Error("refused")));
  });
}

const nextMessage = (socket: WebSocket) =>
  new Promise((resolve) => socket.addEventListener("message", ({ data }) => resolve(data), { once: true }));
const closed = (socket: WebSocket) => new Promise((resolve) => socket.addEventListener("close", resolve, { once: true }));

test("a WebSocket is forwarded in both directions, with its caller in the assertion and without its token", async () => {
  const socket = await openSocket(`/small/socket?room=1&token=${key}`);
  expect(cell.requests.at(-1)).toMatchObject({
    url: "/small/socket?room=1",
    caller: { principal: { tenantId: "tenant-a", credential: "key" } },
  });
  expect(await openCount("socket")).toBe(1);
  for (const text of ["hello", "中文"]) {
    const message = nextMessage(socket);
    socket.send(text);
    expect(await message).toBe(text);
  }
  socket.close();
  await closed(socket);
  await expect.poll(() => openCount("socket")).toBe(0);
  await expect.poll(() => cell.open()).toBe(0);
  const customer = await openSocket("/small/socket?token=customer_tenant-a");
  expect(cell.requests.at(-1)?.caller.principal).toMatchObject({ userId: "customer-1", credential: "customer" });
  customer.close();
});

const upgradeHead = (path: string, headers = `Authorization: Bearer ${key}\r\nX-Tenant-Id: tenant-a\r\n`) =>
  `GET ${path} HTTP/1.1\r\nHost: a\r\n${headers}Connection: Upgrade\r\nUpgrade: websocket\r\n` +
  "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n";

const upgradeRequest = (path: string, headers?: string) => sendRaw(gateway.url, upgradeHead(path, headers));

test.each([
  ["without a token", "/small/socket", "", 401],
  ["with one that is not known", "/small/socket?token=customer_nobody", "", 401],
  ["with one of a class that the route does not take", "/small/socket?token=session_tenant-a", "", 403],
  ["of another tenant", "/small/socket", "Authorization: Bearer @\r\nX-Tenant-Id: tenant-b\r\n", 403],
  ["with a head that is not to be trusted", "/small/socket", "Authorization: Bearer @\r\nAuthorization: Bearer @\r\n", 400],
  ["with a malformed X-Request-ID", "/small/socket", "Authorization: Bearer @\r\nX-Request-ID: a b\r\n", 400],
  ["on a route that declares none", "/small/notes", "Authorization: Bearer @\r\nX-Tenant-Id: tenant-a\r\n", 400],
])("an upgrade %s is refused in the error form, and no cell sees it", async (_, path, headers, status) => {
  const before = cell.requests.length;
  const response = await upgradeRequest(path, headers.replaceAll("@", key));
  expect(response).toMatch(new RegExp(`^HTTP/1\\.1 ${status} `));
  expect(JSON.parse(response.slice(response.indexOf("\r\n\r\n")))).toMatchObject({
    code: expect.any(String),
    requestId: expect.any(String),
  });
  expect(cell.requests.length).toBe(before);
});

test("a cell's response instead of an upgrade reaches the caller", async () => {
  const response = await upgradeRequest("/small/socket?refused=1");
  expect(response).toMatch(/^HTTP\/1\.1 403 /);
  expect(response).toContain('{"code":"FORBIDDEN"}');
  expect(response.toLowerCase()).toContain("x-request-id: ");
});

test("callers who leave before their socket is open do not count against the cell", async () => {
  const { onUpgrade } = cell;
  cell.onUpgrade = (_incoming, socket) => void socket.resume().on("end", () => socket.end());
  const before = cell.requests.length;
  for (let attempt = 0; attempt < 12; attempt++) {
    const socket = connect(gateway.port, "127.0.0.1");
    socket.write(upgradeHead("/small/socket"));
    await expect.poll(() => cell.requests.length).toBe(before + attempt + 1);
    socket.destroy();
  }
  await expect.poll(() => openCount("socket")).toBe(0);
  expect(await readMetric(gateway, 'gateway_upstream_failures_total{partition="small-1",kind="reset"}')).toBe(0);
  cell.onUpgrade = onUpgrade;
  const socket = await openSocket(`/small/socket?token=${key}`);
  socket.close();
  await closed(socket);
});

test("a WebSocket ends when its token expires", async () => {
  const socket = await openSocket("/small/socket?token=customer_brief-1");
  await closed(socket);
  await expect.poll(() => cell.open()).toBe(0);
});

test("a WebSocket of a moved tenant is opened on the tenant's current partition", async () => {
  const [from, to] = [await startSmallCell(), await startSmallCell()];
  const own = await createDatabase();
  const local = await startTestGateway(own, `small=${from.url},small=${to.url}`, { CELL_PREFIXES: prefixes }, extensions);
  const moved = await createTenant(local, "tenant-m");
  const db = openKysely<Tables>({ url: own, applicationName: "test", max: 1 });
  try {
    await (await openSocket(`/small/socket?token=${moved.key}`, local.url)).close();
    await expect.poll(() => from.requests.length).toBe(1);
    from.onUpgrade = (_incoming, socket) => void socket.end("HTTP/1.1 421 Misdirected Request\r\ncontent-length: 0\r\n\r\n");
    // The gateway is not notified: it still uses the earlier placement.
    await db.updateTable("gateway.placements").set({ partition: "small-2" }).execute();
    const socket = await openSocket(`/small/socket?token=${moved.key}`, local.url);
    expect([from.requests.length, to.requests.length]).toEqual([2, 1]);
    socket.close();
    await closed(socket);
  } finally {
    await db.destroy();
    await local.stop();
    await Promise.all([from.close(), to.close()]);
  }
});

const send = (body: string, signature: string) =>
  fetch(`${gateway.url}/small/hook`, { method: "POST", headers: { "x-signature": signature, "content-type": "application/json" }, body });
const sign = (body: string) => createHmac("sha256", secret).update(body).digest("hex");

test("a signed webhook is verified over its raw bytes, and each tenant's part reaches the cell for that tenant", async () => {
  const body = JSON.stringify({ "tenant-a": { n: 1 }, "tenant-b": { n: 2 } });
  const before = cell.requests.length;
  expect((await send(body, "wrong")).status).toBe(401);
  expect(cell.requests.length).toBe(before);
  expect((await send(body, sign(body))).status).toBe(200);
  const received = cell.requests.slice(before).map(({ url, caller }) => [url, caller.principal.tenantId, caller.principal.credential]);
  expect(received.sort()).toEqual([
    ["/small/hook", "tenant-a", "webhook"],
    ["/small/hook", "tenant-b", "webhook"],
  ]);
  const elsewhere = JSON.stringify({ "tenant-a": {}, nobody: {} });
  expect((await send(elsewhere, sign(elsewhere))).status).toBe(503);
  const large = JSON.stringify({ "tenant-a": "x".repeat(100_001) });
  expect((await send(large, sign(large))).status).toBe(413);
});

test("the gateway responds to a webhook sender's challenge, as text", async () => {
  const asked = (token: string) => fetch(`${gateway.url}/small/hook?challenge=42&token=${encodeURIComponent(token)}`);
  const response = await asked(secret);
  expect([response.status, await response.text()]).toEqual([200, "42"]);
  expect((await asked("wrong")).status).toBe(401);
});

test("draining ends event streams and WebSockets immediately, and rejects new ones", async () => {
  const env = { CELL_PREFIXES: prefixes, DRAIN_DELAY_MS: "1500" };
  const local = await startTestGateway(database, `small=${cell.url}`, env, extensions);
  const socket = await openSocket(`/small/socket?token=${key}`, local.url);
  const stream = await fetch(`${local.url}/small/events?token=${key}`);
  const socketClosed = closed(socket);
  const stopped = local.stop();
  await Promise.all([socketClosed, stream.text()]);
  // The listener is still open, and plain requests are still served.
  expect((await fetch(`${local.url}/health`)).status).toBe(200);
  expect((await fetch(`${local.url}/small/events?token=${key}`)).status).toBe(503);
  await stopped;
});

test("a gateway that starts without the cell knows its routes and roles from the stored declaration", async () => {
  const away = await startSmallCell();
  const own = await createDatabase();
  const start = () => startTestGateway(own, `small=${away.url}`, { CELL_PREFIXES: prefixes }, extensions);
  const first = await start();
  const issued = await createTenant(first, "tenant-a");
  await first.stop();
  await away.close();
  const second = await start();
  const refused = await second.call("/small/notes", { key: "" });
  expect([refused.status, refused.body.detail]).toEqual([401, refused.body.message]);
  const { body } = await second.call<{ permissions: string[] }>("/api/admin/keys", {
    json: { userId: "u", role: "auditor", tenantId: "tenant-a" },
  });
  expect(body.permissions).toContain("note:read");
  expect((await second.call("/small/notes", { key: issued.key, tenantId: "tenant-a" })).status).toBe(503);
  await second.stop();
});

test("a cell that was never reached is 503 until it has declared its routes; one without a declaration is closed", async () => {
  const late = await startSmallCell();
  const { declaration, url } = late;
  const own = await createDatabase();
  const first = await startTestGateway(own, "small=http://127.0.0.1:1", { CELL_PREFIXES: prefixes }, extensions);
  const health = await first.call("/small/notes", { key: "" });
  expect([health.status, health.body.code]).toEqual([503, "UNAVAILABLE"]);
  await first.stop();
  late.declaration = undefined;
  const second = await startTestGateway(own, `small=${url}`, { CELL_PREFIXES: prefixes }, extensions);
  const closedPath = await second.call("/small/open", { key: "", headers: { "x-tenant-id": "tenant-a" } });
  expect([closedPath.status, closedPath.body.error]).toEqual([401, undefined]);
  await second.stop();
  late.declaration = declaration;
  const third = await startTestGateway(own, `small=${url}`, { CELL_PREFIXES: prefixes }, extensions);
  expect((await third.call("/small/open", { key: "" })).status).toBe(400);
  await third.stop();
  await late.close();
});

test("the first request after a cell has started is forwarded, although the gateway did not know the cell before", async () => {
  const late = await startSmallCell();
  const { port: cellPort } = new URL(late.url);
  const forwarder = createServer((socket) => {
    const upstream = connect(Number(cellPort), "127.0.0.1");
    socket.on("error", () => upstream.destroy()).pipe(upstream);
    upstream.on("error", () => socket.destroy()).pipe(socket);
  });
  const port = await listenOn(forwarder, 0);
  await new Promise((resolve) => forwarder.close(resolve));
  const own = await startTestGateway(await createDatabase(), `small=http://127.0.0.1:${port}`, { CELL_PREFIXES: prefixes }, extensions);
  await listenOn(forwarder, port);
  expect((await own.call("/small/open", { key: "" })).status).toBe(400);
  await own.stop();
  forwarder.close();
  await late.close();
});

function listenOn(server: Server, port: number): Promise<number> {
  return new Promise((resolve) => server.listen(port, "127.0.0.1", () => resolve((server.address() as AddressInfo).port)));
}
