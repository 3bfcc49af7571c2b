import { spawn } from "node:child_process";
import { once } from "node:events";
import type { ServerResponse } from "node:http";
import type { Socket } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { sweepDeliveries } from "@cell/cell";
import { testLogins } from "@cell/cell/testing/config";
import type { TestClient, TestResponse } from "@cell/cell/testing/test-cell";
import { schemaOf } from "@cell/postgres";
import pg from "pg";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, inject, test } from "vitest";
import { auditOf, inspect, startCrm, type TestCrm, testLoginSecret } from "../testing/test-crm.ts";

import { type Receiver, startReceiver } from "./testing/receiver.ts";

let cell: TestCrm;
let resting: TestCrm;
let tenantId: string;
let admin: TestClient;
let receiver: Receiver;

beforeAll(async () => {
  cell = await startCrm({ webhooks: { retryDelaysMs: [20, 40, 80], timeoutMs: 1_000 } });
});
beforeEach(async () => {
  tenantId = await cell.tenant();
  admin = cell.client(tenantId);
  receiver = await startReceiver();
});
afterEach(() => receiver.stop());
afterAll(() => cell.stop());

const create = async (body: object = {}): Promise<string> =>
  (await admin.post("/webhooks", { body: { url: receiver.url, events: ["customer.created"], ...body } })).body.webhookId;
const write = (name: string): Promise<TestResponse> => admin.post("/customers", { body: { name } });

/** Reads until a condition holds. */
async function until<T>(read: () => Promise<T>, holds: (value: T) => boolean): Promise<T> {
  for (let tries = 0; ; tries++) {
    const value = await read();
    if (holds(value)) return value;
    if (tries > 400) throw new Error(`it has not come about: ${JSON.stringify(value).slice(0, 500)}`);
    await sleep(50);
  }
}

const deliveriesOf = async (webhookId: string, query = "?pageSize=200") =>
  (await admin.get(`/webhooks/${webhookId}/deliveries${query}`)).body.data;
const settled = (webhookId: string, count = 1) =>
  until(
    () => deliveriesOf(webhookId),
    (data) => data.length === count && data.every(({ status }: { status: string }) => status !== "pending"),
  );
const detailOf = async (webhookId: string, deliveryId: string) => (await admin.get(`/webhooks/${webhookId}/deliveries/${deliveryId}`)).body;

describe("a receiver that", () => {
  test("fails and recovers gets the event again under the same id, each attempt in the log", async () => {
    receiver.react = () => (receiver.received.length < 3 ? 500 : 204);
    const webhookId = await create();
    await write("A");
    const [delivery] = await settled(webhookId);
    expect(delivery).toMatchObject({ status: "delivered", eventType: "customer.created", attempts: 3, nextAttemptAt: null });
    expect(receiver.received.map(({ json, headers }) => [json.id, headers["webhook-id"]])).toEqual(
      Array(3).fill([delivery.eventId, delivery.eventId]),
    );
    const detail = await detailOf(webhookId, delivery.deliveryId);
    expect(detail.attemptLog.map(({ attempt, statusCode, error }: Record<string, unknown>) => [attempt, statusCode, error])).toEqual([
      [1, 500, null],
      [2, 500, null],
      [3, 204, null],
    ]);
    expect(detail.payload).toEqual(receiver.received[0]?.json);
    expect((await admin.get(`/webhooks/${webhookId}`)).body.failingSince).toBeNull();
  });

  test("never recovers has the delivery failed in the end; a replay sends it again, once", async () => {
    receiver.react = () => 503;
    const webhookId = await create();
    await write("A");
    const [failed] = await settled(webhookId);
    expect(failed).toMatchObject({ status: "failed", attempts: 4, finishedAt: expect.any(String) });
    expect((await admin.get(`/webhooks/${webhookId}`)).body.failingSince).not.toBeNull();
    receiver.react = () => 200;
    const replay = () => admin.post(`/webhooks/${webhookId}/deliveries/${failed.deliveryId}/replay`, { key: "replay" });
    const replayed = await replay();
    expect([replayed.status, replayed.body.status]).toEqual([202, "pending"]);
    expect((await replay()).text).toBe(replayed.text);
    const [delivered] = await settled(webhookId);
    expect(delivered).toMatchObject({ status: "delivered", attempts: 5, eventId: failed.eventId });
    expect(receiver.received).toHaveLength(5);
  });

  const variants: [string, (response: ServerResponse, socket: Socket) => void, object][] = [
    [
      "redirects is not followed",
      (response) => response.writeHead(302, { location: `${receiver.url}/inner` }).end(),
      { statusCode: 302, error: null },
    ],
    ["never answers is left", () => undefined, { statusCode: null, error: "TIMEOUT" }],
    ["closes the connection is left", (_, socket) => socket.destroy(), { statusCode: null, error: "CONNECTION_FAILED" }],
    ["speaks no HTTP is left", (_, socket) => socket.end("hello\r\n\r\n"), { statusCode: null, error: "INVALID_ANSWER" }],
  ];
  test.each(variants)("%s, and tried again", async (_, reaction, attempt) => {
    receiver.react = () => (receiver.received.length === 1 ? reaction : 200);
    const webhookId = await create();
    await write("A");
    const [delivery] = await settled(webhookId);
    expect(delivery).toMatchObject({ status: "delivered", attempts: 2 });
    expect((await detailOf(webhookId, delivery.deliveryId)).attemptLog[0]).toMatchObject(attempt);
    expect(receiver.received.map(({ path }) => path)).toEqual(["/", "/"]);
  });

  test("answers without end is cut off, and has the event", async () => {
    let sent = 0;
    let closed = false;
    receiver.react = () => (response) => {
      response.writeHead(200);
      response.on("close", () => {
        closed = true;
      });
      const piece = Buffer.alloc(64 * 1024);
      const more = () => {
        while (sent < 1024 * 1024 * 1024 && !response.destroyed) {
          sent += piece.length;
          if (!response.write(piece)) return response.once("drain", more);
        }
        return response.end();
      };
      more();
    };
    const webhookId = await create();
    await write("A");
    const [delivery] = await settled(webhookId);
    expect(delivery).toMatchObject({ status: "delivered", attempts: 1 });
    await until(async () => closed, Boolean);
    expect(sent).toBeLessThan(64 * 1024 * 1024);
  });

  test("is gone for good is disabled at once, in the system's name", async () => {
    receiver.react = () => 410;
    const webhookId = await create();
    await write("A");
    const { body } = await until(
      () => admin.get(`/webhooks/${webhookId}`),
      ({ body }) => !body.enabled,
    );
    expect(body).toMatchObject({ disabledReason: "gone", version: 2 });
    const entries = await auditOf(tenantId, webhookId);
    expect(entries.at(-1)).toMatchObject({ action: "update", actor_id: "system" });
    await write("B");
    await sleep(300);
    expect(receiver.received).toHaveLength(1);
    expect((await admin.post(`/webhooks/${webhookId}/test`)).status).toBe(409);
  });

  test("has failed for five days is disabled; what it missed is sent on demand once it is enabled", async () => {
    receiver.react = () => 500;
    const webhookId = await create();
    await inspect(tenantId, "update $tenant.webhooks set failing_since = now() - interval '119 hours'");
    await write("A");
    await settled(webhookId);
    expect((await admin.get(`/webhooks/${webhookId}`)).body.enabled).toBe(true);
    await inspect(tenantId, "update $tenant.webhooks set failing_since = now() - interval '121 hours'");
    const from = new Date().toISOString();
    await write("B");
    await until(
      () => admin.get(`/webhooks/${webhookId}`),
      ({ body }) => body.disabledReason === "failing",
    );
    await write("C");
    receiver.react = () => 200;
    receiver.received.length = 0;
    const enabled = await admin.patch(`/webhooks/${webhookId}`, { body: { enabled: true } });
    expect(enabled.body).toMatchObject({ enabled: true, disabledReason: null, failingSince: null });
    await write("D");
    const replay = await admin.post(`/webhooks/${webhookId}/replay`, { body: { from } });
    expect([replay.status, replay.body]).toEqual([202, { webhookId, queued: 3 }]);
    await settled(webhookId, 4);
    const names = receiver.received.map(({ json }) => json.data.resourceName);
    expect([...new Set(names)].sort()).toEqual(["B", "C", "D"]);
  });

  test("stalls holds up neither other webhooks nor other tenants", async () => {
    const stalling = await startReceiver();
    stalling.react = () => () => undefined;
    const slow = await create({ url: stalling.url });
    const quick = await create();
    for (let index = 0; index < 20; index++) await write(`c${index}`);
    const other = cell.client(await cell.tenant());
    const elsewhere = await startReceiver();
    await other.post("/webhooks", { body: { url: elsewhere.url, events: ["*"] } });
    await other.post("/customers", { body: { name: "elsewhere" } });
    await Promise.all([receiver.waitFor(20), elsewhere.waitFor(1)]);
    await settled(quick, 20);
    expect((await deliveriesOf(slow, "?status=delivered")).length).toBe(0);
    await admin.delete(`/webhooks/${slow}`);
    await Promise.all([stalling.stop(), elsewhere.stop()]);
  });
});

describe("no event is lost and none queued twice", () => {
  // A cell whose own dispatcher rests.
  beforeAll(async () => {
    resting = await startCrm();
    await resting.dispatcher.stop();
  });
  beforeEach(async () => {
    tenantId = await resting.tenant();
    admin = resting.client(tenantId);
  });
  afterAll(() => resting.stop());

  test("under a thousand writes while the dispatcher is stopped and started again", async () => {
    await create();
    const missing = new Set(Array.from({ length: 1_000 }, (_, index) => `c${index}`));
    // Writes go on while one dispatcher after the other comes and goes.
    let writing = true;
    const coming = (async () => {
      while (writing) {
        const dispatcher = resting.newDispatcher();
        dispatcher.changed(tenantId);
        await sleep(150);
        await dispatcher.stop();
      }
    })();
    const names = [...missing];
    await Promise.all(
      Array.from({ length: 10 }, async () => {
        for (let name = names.pop(); name !== undefined; name = names.pop()) expect((await write(name)).status).toBe(201);
      }),
    );
    writing = false;
    await coming;
    // Two at once take what is left.
    const [one, two] = [resting.newDispatcher(), resting.newDispatcher()];
    for (const dispatcher of [one, two]) dispatcher.changed(tenantId);
    await until(
      () => inspect<{ n: number }>(tenantId, "select count(*)::int as n from $tenant.webhook_deliveries where status = 'delivered'"),
      ([row]) => row?.n === 1_000,
    );
    await Promise.all([one.stop(), two.stop()]);
    for (const { json } of receiver.received) missing.delete(json.data.resourceName);
    expect(missing.size).toBe(0);
    const [counted] = await inspect<{ rows: number; events: number }>(
      tenantId,
      "select count(*)::int as rows, count(distinct event_id)::int as events from $tenant.webhook_deliveries",
    );
    expect(counted).toEqual({ rows: 1_000, events: 1_000 });
  }, 120_000);

  test("when its process is killed between the delivery and the noting of it: it comes again, under the same id", async () => {
    const client = new pg.Client({ connectionString: inject("databaseUrl") });
    await client.connect();
    // The process that records the delivery waits for this lock, and dies meanwhile.
    receiver.react = () => (response) => {
      client
        .query(`begin; select from "${schemaOf(tenantId)}".webhook_deliveries for update`)
        .then(() => response.writeHead(200).end())
        .catch(() => response.destroy());
    };
    await create();
    await write("A");
    const child = spawn(process.execPath, [join(import.meta.dirname, "testing/dispatcher-process.ts")], {
      stdio: ["pipe", "inherit", "inherit"],
    });
    child.stdin.end(
      JSON.stringify({ databaseUrl: inject("databaseUrl"), loginSecret: testLoginSecret, logins: testLogins(), tenantId, leaseMs: 1_500 }),
    );
    await receiver.waitFor(1);
    const noting = "from pg_stat_activity where wait_event_type = 'Lock' and query like '%$tenant%webhook_attempts%'";
    await until(
      () => inspect(tenantId, `select ${noting}`),
      (rows) => rows.length > 0,
    );
    const exited = once(child, "exit");
    child.kill("SIGKILL");
    expect((await exited)[1]).toBe("SIGKILL");
    // PostgreSQL would carry out what it was sent, not knowing yet that nobody waits for it.
    await inspect(tenantId, `select pg_terminate_backend(pid) ${noting}`);
    await until(
      () => inspect(tenantId, `select ${noting}`),
      (rows) => rows.length === 0,
    );
    await client.query("rollback");
    await client.end();
    receiver.react = () => 200;
    const next = resting.newDispatcher();
    next.changed(tenantId);
    const [first, again] = await receiver.waitFor(2);
    expect(again?.json).toEqual(first?.json);
    await until(
      () => inspect<{ status: string; attempts: number }>(tenantId, "select status, attempts from $tenant.webhook_deliveries"),
      ([row]) => row?.status === "delivered" && row.attempts === 2,
    );
    await next.stop();
  });

  test("after a move from a server that has counted further: what came along unsent is sent, and what is written then", async () => {
    const dispatcher = resting.newDispatcher();
    await create();
    await write("before the move");
    // As its rows come from there.
    await inspect(tenantId, "update $tenant.audit_logs set transaction_id = transaction_id + 1000000000");
    await inspect(tenantId, "update $tenant.webhooks set position_transaction = position_transaction + 1000000000");
    await resting.sealer.adopt(tenantId);
    await write("after the move");
    dispatcher.changed(tenantId);
    await receiver.waitFor(2);
    await create();
    await write("to both");
    dispatcher.changed(tenantId);
    await receiver.waitFor(4);
    expect(receiver.received.map(({ json }) => json.data.resourceName).sort()).toEqual([
      "after the move",
      "before the move",
      "to both",
      "to both",
    ]);
    await dispatcher.stop();
  });

  test("to a transaction that ends after later ones", async () => {
    const other = resting.newDispatcher();
    await create();
    const schema = schemaOf(tenantId);
    const client = new pg.Client({ connectionString: inject("databaseUrl") });
    await client.connect();
    await client.query("begin");
    await client.query(`insert into "${schema}".audit_logs (id, occurred_at, actor_id, actor_type, action, resource_type, resource_id, resource_name, changes, request_id)
      values (gen_random_uuid(), now(), 'u', 'user', 'create', 'customer', gen_random_uuid()::text, 'early', '[]', 'r')`);
    await write("late");
    other.changed(tenantId);
    await sleep(500);
    expect(receiver.received).toEqual([]);
    await client.query("commit");
    await client.end();
    await receiver.waitFor(2);
    expect(receiver.received.map(({ json }) => json.data.resourceName).sort()).toEqual(["early", "late"]);
    await other.stop();
  });
});

describe("the log of deliveries", () => {
  test("is listed newest first, by status and event, and is swept after its days", async () => {
    receiver.react = ({ json }) => (json.data.resourceName === "bad" ? 410 : 200);
    const webhookId = await create({ events: ["*"] });
    const { customerId } = (await write("good")).body;
    await settled(webhookId);
    await admin.patch(`/customers/${customerId}`, { body: { notes: "n" } });
    await settled(webhookId, 2);
    await write("bad");
    await settled(webhookId, 3);
    const types = async (query: string) => (await deliveriesOf(webhookId, query)).map(({ eventType }: { eventType: string }) => eventType);
    expect(await types("")).toEqual(["customer.created", "customer.updated", "customer.created"]);
    expect(await types("?status=failed")).toEqual(["customer.created"]);
    expect(await types("?eventType=customer.updated")).toEqual(["customer.updated"]);
    expect((await admin.get(`/webhooks/${webhookId}/deliveries?status=lost`)).status).toBe(400);
    await inspect(tenantId, "update $tenant.webhook_deliveries set created_at = now() - interval '31 days' where status = 'failed'");
    await inspect(
      tenantId,
      "update $tenant.webhook_deliveries set created_at = now() - interval '29 days' where event_type = 'customer.updated'",
    );
    const tenant = await cell.registry.tenant(tenantId);
    expect(await sweepDeliveries(tenant, 30)).toBe(1);
    expect(await types("")).toEqual(["customer.created", "customer.updated"]);
    await admin.delete(`/webhooks/${webhookId}`);
    expect(await sweepDeliveries(tenant, 30)).toBe(2);
    expect(await inspect(tenantId, "select from $tenant.webhooks")).toEqual([]);
    expect(await inspect(tenantId, "select from $tenant.webhook_attempts")).toEqual([]);
  });

  test("shows in the metrics, without a tenant", async () => {
    const webhookId = await create();
    await write("A");
    await settled(webhookId);
    const text = await cell.metrics();
    expect(text).toMatch(/crm_webhook_attempts_total\{outcome="delivered"\} [1-9]/);
    expect(text).toMatch(/crm_webhook_lag_seconds \d/);
    expect(text).not.toContain(tenantId);
  });

  test("a test event and a replay of a time take what they say, and too much is refused", async () => {
    const webhookId = await create({ events: ["customer.deleted"] });
    const sent = await admin.post(`/webhooks/${webhookId}/test`);
    expect(sent.status).toBe(202);
    const [got] = await receiver.waitFor(1);
    expect(got?.json).toEqual({ id: sent.body.eventId, type: "webhook.ping", occurredAt: sent.body.occurredAt, tenantId, data: {} });
    const replay = (body: object) => admin.post(`/webhooks/${webhookId}/replay`, { body });
    expect((await replay({ from: "yesterday" })).status).toBe(400);
    await inspect(
      tenantId,
      `insert into $tenant.audit_logs (id, occurred_at, actor_id, actor_type, action, resource_type, resource_id, changes, request_id)
       select gen_random_uuid(), '2020-01-01T12:00:00Z'::timestamptz + n * interval '1 second', 'u', 'user', 'delete', 'customer', 'x', '[]', 'r' from generate_series(1, 10001) n`,
    );
    expect((await replay({ from: "2020-01-01" })).body.details.fields[0].path).toBe("to");
    expect((await replay({ from: "2020-01-01T12:00:01Z", to: "2020-01-01T12:00:04Z" })).body.queued).toBe(3);
  });
});
