import { Agent, request } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import { createLogger, serve } from "@cell/http";
import { TcpProxy } from "@cell/postgres/testing/proxy";
import { beforeAll, expect, test } from "vitest";
import { createDatabase, createTenant, startTestGateway, type TestGateway } from "./testing/gateway.ts";

const clients = 16;
let database: string;

beforeAll(async () => {
  database = await createDatabase();
});

/** A cell that drains like the product's, and takes some milliseconds per response. */
function startCell(name: string) {
  return serve({
    fetch: async () => {
      await sleep(10);
      return Response.json({ name });
    },
    host: "127.0.0.1",
    port: 0,
    log: createLogger("test", "silent"),
    requestTimeoutMs: 5_000,
    drainDelayMs: 1_000,
    drainTimeoutMs: 5_000,
    close: async () => undefined,
  });
}

/** Alternates reads and writes on kept-alive connections until `stopped`; counts the responses by status and body. */
function load(target: () => TestGateway, key: string) {
  const agents = new Map<TestGateway, Agent>();
  const outcomes = new Map<string, number>();
  let running = true;
  function ask(method: string): Promise<string> {
    const gateway = target();
    const agent = agents.get(gateway) ?? new Agent({ keepAlive: true, maxSockets: clients });
    agents.set(gateway, agent);
    const headers = { authorization: `Bearer ${key}`, "x-tenant-id": "tenant-a" };
    return new Promise((resolve) => {
      const sent = request(`${gateway.url}/api/v1/crm/customers`, { agent, method, headers }, (response) => {
        let text = "";
        response.setEncoding("utf8").on("data", (piece) => (text += piece));
        response.on("end", () => resolve(`${response.statusCode} ${text}`));
      });
      sent.on("error", (error) => resolve(error.message));
      sent.end();
    });
  }
  async function client(): Promise<void> {
    for (let turn = 0; running; turn++) {
      const outcome = await ask(turn % 2 === 0 ? "GET" : "POST");
      outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
    }
  }
  const done = Promise.all(Array.from({ length: clients }, client));
  return {
    async stopped() {
      running = false;
      await done;
      for (const agent of agents.values()) agent.destroy();
      return outcomes;
    },
  };
}

test("a cell is replaced under load without losing a request, reads and writes alike", async () => {
  const first = await startCell("first");
  const proxy = await TcpProxy.open({ targetPort: first.port });
  const gateway = await startTestGateway(database, `crm=http://127.0.0.1:${proxy.port}`);
  const { key } = await createTenant(gateway, "tenant-a");
  const running = load(() => gateway, key);
  await sleep(300);
  const second = await startCell("second");
  proxy.targetPort = second.port;
  await first.stop();
  await sleep(300);
  const outcomes = await running.stopped();
  expect([...outcomes.keys()].sort()).toEqual(['200 {"name":"first"}', '200 {"name":"second"}']);
  await gateway.stop();
  await second.stop();
  await proxy.close();
});

test("a gateway is replaced under load without losing a request", async () => {
  const cell = await startCell("cell");
  // Long enough for the load balancer below to notice on a busy machine.
  const settings = { DRAIN_DELAY_MS: "3000" };
  const gateways = await Promise.all([1, 2].map(() => startTestGateway(database, `crm=${cell.url}`, settings)));
  const [old, replacement] = gateways as [TestGateway, TestGateway];
  const { key } = await createTenant(old, "tenant-a");
  let current = old;
  const running = load(() => current, key);
  await sleep(300);
  const stopped = old.stop();
  // As a load balancer does: leaves instances that are not ready.
  while ((await old.call("/ready", { key: "" })).status === 200) await sleep(20);
  const draining = await old.call("/api/v1/crm/customers", { key, tenantId: "tenant-a" });
  expect([draining.status, draining.headers.get("connection")]).toEqual([200, "close"]);
  current = replacement;
  await stopped;
  await sleep(200);
  const outcomes = await running.stopped();
  expect([...outcomes.keys()]).toEqual(['200 {"name":"cell"}']);
  await replacement.stop();
  await cell.stop();
});
