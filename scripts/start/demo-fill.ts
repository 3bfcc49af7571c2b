import type { Api } from "./demo-api.ts";
import { type DemoDeal, demoDeals } from "./demo-contracts.ts";
import { demoContacts, demoCustomers } from "./demo-data.ts";
import { demoOpportunities } from "./demo-deals.ts";

export interface DemoKey {
  userId: string;
  key: string;
}

export type DemoKeys = Record<"admin" | "manager" | "sales" | "sales2" | "integrator", DemoKey>;

export interface DemoTenant {
  tenantId: string;
  name: string;
  currencies: readonly [string, ...string[]];
  settings?: object;
}

const crm = "/api/v1/crm";
const customersPerTenant = 300;
const opportunitiesPerTenant = 400;
const parallel = 8;
const firstId = "demo-customers";
const lastId = "demo-last";
/** Less than the retention of idempotency keys. */
const resumableMs = 23 * 60 * 60 * 1000;

/** Fills an empty tenant with data, or continues an interrupted fill. Rejects with the gateway's error. */
export async function fillTenant(api: Api, { tenantId, currencies, settings }: DemoTenant, keys: DemoKeys): Promise<void> {
  const admin = keys.admin.key;
  const oldest = async () => (await api.first<{ customerId: string; createdAt: string }>(`${crm}/customers?sort=createdAt`, admin)).row;
  const post = <Body>(path: string, key: string, requestId: string, body?: unknown) =>
    api.call<Body>(crm + path, key, { method: "POST", requestId, body });

  const found = await oldest();
  if (found && !(await isInterrupted(api, admin, found))) return;

  if (settings) await api.call(`${crm}/settings`, admin, { method: "PATCH", requestId: "demo-settings", body: settings });
  const customers = demoCustomers(tenantId, customersPerTenant, [keys.sales.userId, keys.sales2.userId]);
  const integrator = keys.integrator.key;
  imported(await post("/customers/import", integrator, firstId, { items: customers }));
  // After an interruption the same data must follow: they depend on the day of the beginning.
  const day = ((await oldest())?.createdAt ?? new Date().toISOString()).slice(0, 10);
  const opportunities = demoOpportunities(tenantId, customers, opportunitiesPerTenant, currencies, day);
  imported(await post("/opportunities/import", integrator, "demo-opportunities", { items: opportunities }));

  const [customerRows, wonRows] = await Promise.all([
    api.all<{ customerId: string; name: string }>(`${crm}/customers`, admin),
    api.all<{ customerId: string; name: string; opportunityId: string }>(`${crm}/opportunities?status=won`, admin),
  ]);
  const customerIds = new Map(customerRows.map(({ name, customerId }) => [name, customerId]));
  const opportunityIds = new Map(wonRows.map(({ customerId, name, opportunityId }) => [`${customerId} ${name}`, opportunityId]));
  const keyOf = (ownerId: string) => (ownerId === keys.sales.userId ? keys.sales : keys.sales2).key;

  const signed = async ({ opportunity, contract, payments }: DemoDeal) => {
    const customerId = customerIds.get(opportunity.customerName);
    const opportunityId = opportunityIds.get(`${customerId} ${opportunity.name}`);
    const key = keyOf(opportunity.ownerId);
    const body = { ...contract, customerId, opportunityId };
    const { contractId } = await post<{ contractId: string }>("/contracts", key, `demo-${contract.number}`, body);
    for (const payment of payments) await post("/payments", key, `demo-${payment.reference}`, { ...payment, contractId });
    return contractId;
  };
  const contacts = demoContacts(customers).map((contact, index) => async () => {
    const { customerName, ownerId, ...body } = contact;
    await post("/contacts", keyOf(ownerId), `demo-contact-${index + 1}`, { ...body, customerId: customerIds.get(customerName) });
  });
  const [paid, ...others] = demoDeals(opportunities, day).sort((one, other) => other.payments.length - one.payments.length);
  await inParallel([...contacts, ...others.map((deal) => () => signed(deal))]);

  // The last write marks the fill as complete.
  if (!paid) return;
  const contractId = await signed(paid);
  const twice = { ...paid.payments[0], reference: "TX-TWICE", notes: "registered twice", contractId };
  const { paymentId } = await post<{ paymentId: string }>("/payments", keys.manager.key, "demo-twice", twice);
  await post(`/payments/${paymentId}/void`, keys.manager.key, lastId);
}

/**
 * Whether an earlier start created the tenant's oldest customer and did not finish, recently enough for its idempotency keys to be stored.
 */
async function isInterrupted(
  api: Api,
  key: string,
  { customerId, createdAt }: { customerId: string; createdAt: string },
): Promise<boolean> {
  if (Date.now() - Date.parse(createdAt) > resumableMs) return false;
  const written = (filter: string) => api.first(`${crm}/audit-logs?${filter}`, key);
  const [begun, ended] = await Promise.all([
    written(`resourceType=customer&resourceId=${customerId}&requestId=${firstId}`),
    written(`resourceType=payment&requestId=${lastId}`),
  ]);
  return begun.total > 0 && ended.total === 0;
}

function imported({ failed, errors }: { failed: number; errors: unknown[] }): void {
  if (failed > 0)
    throw new Error(`The demo data cannot be made: ${failed} rows of an import fail, the first with ${JSON.stringify(errors[0])}.`);
}

async function inParallel(tasks: readonly (() => Promise<unknown>)[]): Promise<void> {
  const queue = tasks.values();
  const worker = async () => {
    for (const task of queue) await task();
  };
  await Promise.all(Array.from({ length: parallel }, worker));
}
