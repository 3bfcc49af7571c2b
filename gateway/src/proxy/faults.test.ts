import { once } from "node:events";
import { type IncomingMessage, request } from "node:http";
import { createServer, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { sendProblem } from "@cell/http";
import { TcpProxy } from "@cell/postgres/testing/proxy";
import { unavailable } from "@cell/problem";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startTestCell, type TestCell } from "../testing/cell.ts";
import { createDatabase, createTenant, type IssuedKey, readMetric, startTestGateway, type TestGateway } from "../testing/gateway.ts";

let cell: TestCell;
let proxy: TcpProxy;
let gateway: TestGateway;
let key: string;

beforeAll(async () => {
  cell = await startTestCell();
  proxy = await TcpProxy.open({ targetPort: Number(new URL(cell.url).port) });
  gateway = await startTestGateway(await createDatabase(), `crm=http://127.0.0.1:${proxy.port}`, {
    // Everything runs in one process: on a slow machine a connection must not count as late.
    CONNECT_TIMEOUT_MS: "1000",
    HEADERS_TIMEOUT_MS: "900",
    BODY_IDLE_TIMEOUT_MS: "900",
  });
  ({ key } = await createTenant(gateway, "tenant-a"));
});

afterAll(async () => {
  await gateway.stop();
  await proxy.close();
  await cell.close();
});

const ask = (path: string, method = "GET") => gateway.call(`/api/v1/crm${path}`, { key, tenantId: "tenant-a", method });
const failures = (kind: string) => readMetric(gateway, `gateway_upstream_failures_total{partition="crm-1",kind="${kind}"}`);
const circuitOpen = () => readMetric(gateway, 'gateway_circuit_open{partition="crm-1"}');
const circuitSheds = () => readMetric(gateway, 'gateway_shed_total{partition="crm-1",reason="circuit"}');

/** Sends requests until the cell is reachable again. */
async function recover(): Promise<void> {
  for (let attempt = 0; attempt < 100; attempt++) {
    if ((await ask("/customers")).status === 200) return;
    await sleep(50);
  }
  throw new Error("the cell is not reached again");
}

/** What a cell may do to a connection instead of responding. */
const unanswered: [what: string, path: string, act: Parameters<TestCell["on"]>[1], kind: string, code: string][] = [
  ["resets the connection", "/reset", ({ socket }) => socket.resetAndDestroy(), "reset", "UNAVAILABLE"],
  ["ends the connection without a word", "/silent", ({ socket }) => socket.end(), "reset", "UNAVAILABLE"],
  ["ends the connection amid the head", "/half-head", ({ socket }) => socket.end("HTTP/1.1 200 OK\r\nContent-"), "reset", "UNAVAILABLE"],
  ["answers what is no HTTP", "/garbage", ({ socket }) => socket.end("+OK ready\r\n\r\n"), "malformed", "UNAVAILABLE"],
  ["says nothing", "/stuck", () => undefined, "timeout", "TIMEOUT"],
  ["stops amid the head", "/slow-head", ({ socket }) => socket.write("HTTP/1.1 200 OK\r\nContent-"), "timeout", "TIMEOUT"],
  ["sends its head byte by byte", "/dribble", ({ socket }) => dribble(socket), "timeout", "TIMEOUT"],
];

function dribble(socket: Socket): void {
  socket.write("HTTP/1.1 200 OK\r\nX-Long: ");
  const timer = setInterval(() => socket.write("x"), 100);
  socket.on("close", () => clearInterval(timer));
}

test.each(unanswered)(
  "a cell that %s: the caller gets the documented error, it is counted, a write is not retried, and the next request works",
  async (...given) => {
    const [, path, act, kind, code] = given;
    cell.on(path, act);
    const before = await failures(kind);
    const seen = cell.requests.length;
    const response = await ask(path, "POST");
    expect([response.status, response.body.code]).toEqual([code === "TIMEOUT" ? 504 : 503, code]);
    if (code === "UNAVAILABLE") expect(response.headers.get("retry-after")).toBe("1");
    expect(cell.requests.length).toBe(seen + 1);
    expect(await failures(kind)).toBe(before + 1);
    expect((await ask("/customers")).status).toBe(200);
  },
);

const chunkedHead = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
const broken: [what: string, path: string, act: Parameters<TestCell["on"]>[1]][] = [
  ["dies", "/dies", ({ socket }) => void socket.write(`${chunkedHead}4\r\n{"a"\r\n`, () => socket.resetAndDestroy())],
  ["ends a chunked answer early", "/early", ({ socket }) => socket.end(`${chunkedHead}4\r\n{"a"\r\n`)],
  ["ends a measured answer early", "/short", ({ socket }) => socket.end('HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{"a"')],
  ["goes on with nonsense", "/nonsense", ({ socket }) => socket.end(`${chunkedHead}4\r\n{"a"\r\nzz\r\n`)],
  ["stalls", "/stalls", ({ socket }) => void socket.write(`${chunkedHead}4\r\n{"a"\r\n`)],
];

test.each(broken)(
  "a cell that %s within its response: the response is cut off, never completed, and the next request works",
  async (...given) => {
    const [, path, act] = given;
    cell.on(path, act);
    const before = await failures("broken");
    await expect(ask(path)).rejects.toThrow(/terminated|fetch failed/);
    expect(await failures("broken")).toBe(before + 1);
    expect((await ask("/customers")).status).toBe(200);
  },
);

test("a slow caller is not taken for a slow cell", async () => {
  const before = await failures("timeout");
  const headers = { authorization: `Bearer ${key}`, "x-tenant-id": "tenant-a", "transfer-encoding": "chunked" };
  const sending = request(`${gateway.url}/api/v1/crm/customers`, { method: "POST", headers });
  const received = once(sending, "response");
  for (const piece of ['{"name":', '"x"', "}"]) {
    await sleep(700);
    sending.write(piece);
  }
  sending.end();
  const [response] = (await received) as [IncomingMessage];
  response.resume();
  expect(response.statusCode).toBe(200);
  expect(await failures("timeout")).toBe(before);
});

test("ten consecutive failures open the circuit breaker: requests are rejected unsent, until the cell is back", async () => {
  proxy.refusing = true;
  proxy.cut();
  for (let attempt = 0; attempt < 10; attempt++) expect((await ask("/customers", "POST")).status).toBe(503);
  expect(await circuitOpen()).toBe(1);
  const attempts = (await failures("reset")) + (await failures("connect"));
  const shed = await circuitSheds();
  const refused = await ask("/customers");
  expect([refused.status, refused.body.code, refused.headers.get("retry-after")]).toEqual([503, "UNAVAILABLE", "1"]);
  expect(await circuitSheds()).toBe(shed + 1);
  expect((await failures("reset")) + (await failures("connect"))).toBe(attempts);
  expect((await gateway.call("/ready", { key: "" })).status).toBe(200);

  proxy.refusing = false;
  await recover();
  expect(await circuitOpen()).toBe(0);
});

test("the circuit breaker opens for a hanging cell after the first timeouts, and closes as soon as it responds", async () => {
  proxy.stall();
  const first = await Promise.all(Array.from({ length: 12 }, () => ask("/customers")));
  expect(new Set(first.map(({ status }) => status))).toEqual(new Set([504]));
  expect(await circuitOpen()).toBe(1);
  expect((await ask("/customers")).status).toBe(503);
  // A probe that hangs too leaves the circuit open.
  await sleep(1_600);
  expect(await circuitOpen()).toBe(1);
  proxy.mend();
  await recover();
});

test("the circuit breaker opens for a silent cell before a slow route's timeout, and ends its requests", async () => {
  cell.on("/customers/export", () => undefined);
  const waiting = ask("/customers/export");
  proxy.stall();
  try {
    while ((await circuitOpen()) === 0) await sleep(20);
  } finally {
    proxy.mend();
  }
  await recover();
  const response = await waiting;
  expect([response.status, response.body.code]).toEqual([504, "TIMEOUT"]);
});

test.each(unanswered.filter(([, path]) => ["/stuck", "/reset", "/garbage"].includes(path)))(
  "twelve callers of one tenant that repeat a request for which a cell %s: other tenants still get their responses",
  async (...given) => {
    const [, path, act] = given;
    cell.on(path, act);
    const other = await createTenant(gateway, "tenant-b");
    const askOther = () => gateway.call("/api/v1/crm/customers", { key: other.key, tenantId: "tenant-b" });
    expect((await askOther()).status).toBe(200);
    const shed = await circuitSheds();
    let isOver = false;
    const failed: number[] = [];
    const asked = Array.from({ length: 12 }, async () => {
      for (; !isOver; await sleep(5)) failed.push((await ask(path, "POST")).status);
    });
    // Before that, no other request shows that the cell responds.
    while (failed.length < 12) await sleep(1);
    const responses: number[] = [];
    for (let count = 0; count < 20; count++) {
      responses.push((await askOther()).status);
      await sleep(25);
    }
    isOver = true;
    await Promise.all(asked);
    expect(new Set(responses)).toEqual(new Set([200]));
    expect(new Set(failed)).toEqual(new Set([path === "/stuck" ? 504 : 503]));
    expect(failed.length).toBeGreaterThan(12);
    expect([await circuitSheds(), await circuitOpen()]).toEqual([shed, 0]);
  },
);

test("error responses of a cell do not open the circuit breaker", async () => {
  cell.on("/away", ({ headers }, outgoing) => sendProblem(outgoing, unavailable("The database is away"), String(headers["x-request-id"])));
  for (let attempt = 0; attempt < 30; attempt++) expect((await ask("/away")).status).toBe(503);
  expect(await circuitOpen()).toBe(0);
  expect((await ask("/customers")).status).toBe(200);
});

test("each partition has its own circuit breaker: tenants of others are not affected", async () => {
  const deaf = createServer((socket) => socket.destroy());
  await new Promise<void>((resolve) => deaf.listen(0, "127.0.0.1", resolve));
  const other = await startTestCell();
  const address = deaf.address();
  if (address === null || typeof address === "string") throw new Error("no port");
  // Each tenant is placed on the partition with the fewest tenants; creation needs both partitions.
  const relay = await TcpProxy.open({ targetPort: Number(new URL(cell.url).port) });
  const local = await startTestGateway(await createDatabase(), `crm=http://127.0.0.1:${relay.port},crm=${other.url}`);
  try {
    const keys: ({ tenantId: string } & IssuedKey)[] = [];
    for (const tenantId of ["tenant-1", "tenant-2"]) keys.push({ tenantId, ...(await createTenant(local, tenantId)) });
    relay.targetPort = address.port;
    relay.cut();
    const get = async (index: number) => (await local.call("/api/v1/crm/customers", { method: "POST", ...keys[index] })).status;
    const alive = (await get(0)) === 200 ? 0 : 1;
    const open = (partition: string) => readMetric(local, `gateway_circuit_open{partition="${partition}"}`);
    // Ten are enough once a probe has failed too.
    for (let attempt = 0; attempt < 12 || ((await open("crm-1")) === 0 && attempt < 100); attempt++) {
      expect(await get(1 - alive)).toBe(503);
      expect(await get(alive)).toBe(200);
    }
    expect([await open("crm-1"), await open("crm-2")]).toEqual([1, 0]);
  } finally {
    await local.stop();
    await relay.close();
    await other.close();
    deaf.close();
  }
});
