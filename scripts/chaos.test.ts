import { setTimeout as sleep } from "node:timers/promises";
import pg from "pg";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type ReceivedResponse, send } from "./chaos/http.ts";
import { type TenantKeys, Testbed } from "./chaos/testbed.ts";

let testbed: Testbed;
let tenant: TenantKeys;

beforeAll(async () => {
  testbed = await Testbed.start({}, 22_000, Math.random);
  tenant = await testbed.tenant("killed", 1);
}, 120_000);
afterAll(() => testbed.stop(), 60_000);

function post(path: string, id: string, body: object): Promise<ReceivedResponse> {
  const headers = { authorization: `Bearer ${tenant.keys[0]}`, "x-tenant-id": tenant.tenantId, "x-request-id": id };
  return send(`${testbed.gateway}/api/v1/crm${path}`, { method: "POST", headers, body });
}

/** Sends it until it is answered with success. */
async function insist(path: string, id: string, body: object): Promise<ReceivedResponse> {
  for (let times = 0; times < 200; times++) {
    const response = await post(path, id, body).catch(() => undefined);
    if (response && response.status < 300) return response;
    await sleep(100);
  }
  throw new Error(`${path} does not succeed any more`);
}

async function paymentsWith(notes: string): Promise<{ amount: string; received: string }[]> {
  const client = new pg.Client({ connectionString: testbed.databaseUrl });
  await client.connect();
  try {
    const { rows } = await client.query<{ amount: string; received: string }>(
      `select p.amount::text as amount, c.received_amount::text as received
       from "${tenant.schema}".payments p join "${tenant.schema}".contracts c using (contract_id) where p.notes = $1`,
      [notes],
    );
    return rows;
  } finally {
    await client.end();
  }
}

test.each([
  ["PostgreSQL", "postgres"],
  ["the cell", "crm"],
  ["the gateway", "gateway"],
] as const)(
  "%s killed between a payment's commit and its answer: the retry replays, and it counts once",
  { timeout: 60_000 },
  async (_, name) => {
    const { customerId } = JSON.parse((await insist("/customers", `customer-${name}`, { name })).text);
    const contract = { customerId, name, amount: "100.00", status: "active" };
    const { contractId } = JSON.parse((await insist("/contracts", `contract-${name}`, contract)).text);
    const payment = { contractId, amount: "12.34", paidAt: "2026-01-31", notes: name };

    testbed.database.commitFate = () => "hold";
    const first = post("/payments", `payment-${name}`, payment).catch(() => undefined);
    // The sealer commits too, and may be held first.
    while ((await paymentsWith(name)).length === 0) await sleep(10);
    testbed.database.commitFate = () => "pass";
    testbed.kill(testbed.pid(name));
    const response = await first;
    testbed.database.release();
    const retried = await insist("/payments", `payment-${name}`, payment);

    expect([retried.status, retried.headers["idempotency-replayed"]]).toEqual([201, "true"]);
    if (response && response.status < 300) expect(retried.text).toBe(response.text);
    expect(await paymentsWith(name)).toEqual([{ amount: "12.3400", received: "12.34" }]);
    expect(testbed.unexpectedEnds()).toEqual([]);
  },
);
