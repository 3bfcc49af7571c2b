import type { TestClient } from "@cell/cell/testing/test-cell";
import { schemaOf } from "@cell/postgres";
import { type CommitFate, TcpProxy } from "@cell/postgres/testing/proxy";
import pg from "pg";
import { afterAll, afterEach, beforeAll, expect, inject, test } from "vitest";
import { auditOf, inspect, startCrm, storedResponses, type TestCrm } from "./testing/test-crm.ts";

let proxy: TcpProxy;
let cell: TestCrm;
let tenantId: string;
let admin: TestClient;
let outsider: pg.Client;

beforeAll(async () => {
  proxy = await TcpProxy.open({ targetPort: Number(new URL(inject("databaseUrl")).port) });
  proxy.commitFate = () => "pass";
  cell = await startCrm({ databaseUrl: proxy.through(inject("databaseUrl")), perTenant: 6, statementTimeoutMs: 1_500, logins: "own" });
  tenantId = await cell.tenant();
  admin = cell.client(tenantId);
  outsider = new pg.Client({ connectionString: inject("databaseUrl") });
  await outsider.connect();
});
afterEach(() => {
  // What was swallowed is dead without knowing it: the next test begins with connections that live.
  if (proxy.swallowing) proxy.cut();
  proxy.mend();
  proxy.commitFate = () => "pass";
});
afterAll(async () => {
  await outsider.end();
  await cell.stop();
  await proxy.close();
});

/** What becomes of the next commit's answer; the ones after it pass. */
function nextCommit(fate: CommitFate): void {
  proxy.commitFate = () => {
    proxy.commitFate = () => "pass";
    return fate;
  };
}

async function contract(): Promise<string> {
  const { body: customer } = await admin.post("/customers", { body: { name: `Of contracts ${Math.random()}` } });
  const body = { customerId: customer.customerId, name: "Contract", amount: "100.00", status: "active" };
  const made = await admin.post("/contracts", { body });
  expect(made.status).toBe(201);
  return made.body.contractId;
}

async function countOf(table: string, condition: string): Promise<number> {
  const [row] = await inspect<{ count: number }>(tenantId, `select count(*)::int as count from $tenant.${table} where ${condition}`);
  return row?.count ?? 0;
}

/** Lets every insert of a customer fail with a state: the first `times` of them, or all. Returns how often it was tried, and the way back. */
async function failInserts(state: string, times: number) {
  const schema = `"${schemaOf(tenantId)}"`;
  await outsider.query(`create sequence ${schema}.tries`);
  await outsider.query(`create function ${schema}.fail() returns trigger language plpgsql security definer as $$
    begin
      if nextval('${schema}.tries') <= ${times} then raise sqlstate '${state}' using message = 'made to fail'; end if;
      return new;
    end $$`);
  await outsider.query(`create trigger fail before insert on ${schema}.customers for each row execute function ${schema}.fail()`);
  return async () => {
    const { rows } = await outsider.query<{ tries: number }>(`select last_value::int as tries from ${schema}.tries`);
    await outsider.query(`drop function ${schema}.fail() cascade`);
    await outsider.query(`drop sequence ${schema}.tries`);
    return rows[0]?.tries;
  };
}

/** The server's processes that hold the tenant's connections. */
async function backends(): Promise<number[]> {
  const { rows } = await outsider.query<{ pid: number }>("select pid from pg_stat_activity where usename = $1 order by pid", [
    schemaOf(tenantId),
  ]);
  return rows.map(({ pid }) => pid);
}

test("a commit whose response is lost is looked up by its key, with one effect; a retry replays", async () => {
  const body = { name: "Answer lost" };
  nextCommit("lose");
  const first = await admin.post("/customers", { body, key: "answer-lost" });
  expect(first.status).toBe(201);
  const repeat = await admin.post("/customers", { body, key: "answer-lost" });
  expect([repeat.text, repeat.headers.get("idempotency-replayed")]).toEqual([first.text, "true"]);
  expect(await countOf("customers", "name = 'Answer lost'")).toBe(1);
  expect(await auditOf(tenantId, first.body.customerId)).toHaveLength(1);
});

test("a payment whose commit's answer is lost counts once", async () => {
  const contractId = await contract();
  nextCommit("lose");
  const paid = await admin.post("/payments", { body: { contractId, amount: "12.34", paidAt: "2026-01-31" }, key: "payment-lost" });
  expect(paid.status).toBe(201);
  expect(await countOf("payments", `contract_id = '${contractId}'`)).toBe(1);
  expect((await admin.get(`/contracts/${contractId}`)).body.receivedAmount).toBe("12.34");
});

test("without a key, a lost commit is 503 with an unknown outcome, and is not retried", async () => {
  nextCommit("lose");
  const lost = await admin.post("/customers", { body: { name: "Unknown outcome" } });
  expect([lost.status, lost.body.code, lost.headers.get("retry-after")]).toEqual([503, "UNAVAILABLE", "1"]);
  expect(lost.body.message).toContain("not known");
  expect(await countOf("customers", "name = 'Unknown outcome'")).toBe(1);
});

test("connections that end between two requests cost no request, nor the process", async () => {
  await admin.post("/customers", { body: { name: "Before the cut" } });
  expect(proxy.cut()).toBeGreaterThan(0);
  const responses = await Promise.all(
    [0, 1, 2].map((index) => admin.post("/customers", { body: { name: `Cut ${index}` }, key: `cut-${index}` })),
  );
  expect(responses.map(({ status }) => status)).toEqual([201, 201, 201]);
});

test("after connections were cut under load, writers get connections again", async () => {
  const write = (index: number) => admin.post("/customers", { body: { name: `Under load ${index}` }, key: `load-${index}` });
  for (let times = 0; times < 10; times++) {
    const running = Array.from({ length: 40 }, (_, index) => write(times * 40 + index));
    proxy.cut();
    for (const { status } of await Promise.all(running)) expect([201, 503]).toContain(status);
  }
  const responses = await Promise.all(Array.from({ length: 5 }, (_, index) => write(index)));
  expect(responses.map(({ status }) => status)).toEqual([201, 201, 201, 201, 201]);
});

test("while nothing gets through to the database, writes and reads are 503; afterwards all work again, each write once", async () => {
  await admin.get("/customers?pageSize=1");
  proxy.swallow();
  const write = () => admin.post("/customers", { body: { name: "In the dark" }, key: "in-the-dark" });
  const responses = await Promise.all([write(), admin.get("/customers?pageSize=1"), admin.get("/ready")]);
  expect(responses.map(({ status }) => status)).toEqual([503, 503, 503]);
  proxy.mend();
  expect((await write()).status).toBe(201);
  expect((await admin.get("/customers?pageSize=1")).status).toBe(200);
  expect(await countOf("customers", "name = 'In the dark'")).toBe(1);
});

test("a stop while nothing gets through to the database comes to its end", async () => {
  const other = await startCrm({ databaseUrl: proxy.through(inject("databaseUrl")), statementTimeoutMs: 1_500, logins: "own" });
  expect((await other.client(tenantId).get("/customers?pageSize=1")).status).toBe(200);
  proxy.swallow();
  await other.stop();
  expect(other.registry.connections.open).toBe(0);
});

test.each(["40001", "40P01"])("a command that fails with %s is retried internally, and succeeds for its caller", async (state) => {
  const undo = await failInserts(state, 2);
  const made = await admin.post("/customers", { body: { name: `Again after ${state}` }, key: `again-${state}` });
  expect([made.status, await undo()]).toEqual([201, 3]);
  expect(await auditOf(tenantId, made.body.customerId)).toHaveLength(1);
});

test.each([
  ["40001", 503, 5],
  ["40P01", 503, 5],
  ["55P03", 503, 1],
  ["57014", 504, 1],
  ["53100", 503, 1],
  ["53200", 503, 1],
  ["58030", 503, 1],
  ["25006", 503, 1],
])("what always ends in %s is %i after %i attempts, keeps the connection and leaves no key", async (state, status, attempts) => {
  await admin.post("/customers", { body: { name: `Opens a connection for ${state}` } });
  const before = await backends();
  const stored = await storedResponses(tenantId);
  const undo = await failInserts(state, 1_000);
  const refused = await admin.post("/customers", { body: { name: `Never ${state}` }, key: `never-${state}` });
  expect([refused.status, await undo()]).toEqual([status, attempts]);
  expect(await backends()).toEqual(expect.arrayContaining(before));
  expect(await storedResponses(tenantId)).toBe(stored);
  expect((await admin.post("/customers", { body: { name: `Never ${state}` }, key: `never-${state}` })).status).toBe(201);
});

test("with every connection taken, the next write is 503 instead of waiting for long, and works once one is free", async () => {
  await outsider.query("begin");
  await outsider.query(`lock table "${schemaOf(tenantId)}".customers in share mode`);
  const write = (index: number) => admin.post("/customers", { body: { name: `Crowd ${index}` }, key: `crowd-${index}` });
  const responses = await Promise.all(Array.from({ length: 20 }, (_, index) => write(index)));
  expect(new Set(responses.map(({ status }) => status))).toEqual(new Set([503]));
  expect(responses.some(({ body }) => body.message.includes("connections are in use"))).toBe(true);
  await outsider.query("rollback");
  expect((await write(0)).status).toBe(201);
});

test("writers on a hanging record fail together: none waits for the timeouts of all before it", {
  timeout: 12_000,
}, async () => {
  const contractId = await contract();
  await outsider.query("begin");
  await outsider.query(`select from "${schemaOf(tenantId)}".contracts where contract_id = $1 for update`, [contractId]);
  const pay = (index: number) =>
    admin.post("/payments", { body: { contractId, amount: "1.00", paidAt: "2026-01-31" }, key: `hangs-${contractId}-${index}` });
  const responses = await Promise.all(Array.from({ length: 30 }, (_, index) => pay(index)));
  expect(new Set(responses.map(({ status }) => status))).toEqual(new Set([503]));
  await outsider.query("rollback");
  expect((await pay(0)).status).toBe(201);
});
