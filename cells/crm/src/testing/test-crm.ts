import { Dispatcher, type DispatcherOptions } from "@cell/cell";
import { type StartedTestCell, startTestCell, type TestCellOptions } from "@cell/cell/testing/start-test-cell";
import { Outbound, parseNetworks } from "@cell/http";
import { inspect } from "@cell/postgres/testing/inspect";
import { crm } from "../app.ts";
import { type CrmRuntime, type CrmServices, crmServices, dispatcherOptions } from "../services.ts";

export { sealPublicKey, testLoginSecret } from "@cell/cell/testing/start-test-cell";
export { auditOf, isFinished, storedResponses } from "@cell/cell/testing/stored";
export { inspect } from "@cell/postgres/testing/inspect";

/** What the secrets of webhooks follow from in tests. */
const webhookKeys = `test:${Buffer.alloc(32, 5).toString("base64url")}`;
const outboundAllow = "127.0.0.0/8";

export interface TestCrm extends StartedTestCell<CrmServices> {
  /** Sends webhooks, to 127.0.0.1 too. */
  dispatcher: Dispatcher;
  /** Another dispatcher, as in a second process. */
  newDispatcher(options?: Partial<DispatcherOptions>): Dispatcher;
}

export interface TestCrmOptions extends TestCellOptions {
  messagingUrl?: string;
  webhooks?: Partial<DispatcherOptions>;
}

/** The CRM cell, by default on the test run's PostgreSQL. */
export async function startCrm({ messagingUrl, webhooks: overrides, ...options }: TestCrmOptions = {}): Promise<TestCrm> {
  let runtime: CrmRuntime | undefined;
  let dispatcher: Dispatcher | undefined;
  const services: typeof crm.services = (given) => {
    runtime = given;
    const made = crmServices(given, overrides);
    dispatcher = made.dispatcher;
    return made;
  };
  const env = { WEBHOOK_KEYS: webhookKeys, OUTBOUND_ALLOW: outboundAllow, MESSAGING_URL: messagingUrl, ...options.env };
  const cell = await startTestCell({ ...crm, services }, { ...options, env });
  if (!runtime || !dispatcher) throw new Error("the cell has made no services");
  const made = dispatcherOptions(runtime, new Outbound({ allow: parseNetworks(outboundAllow) }));
  return { ...cell, dispatcher, newDispatcher: (given = {}) => new Dispatcher({ ...made, ...overrides, ...given }) };
}

/** Number of staged and failed rows: a whole batch with its failures, or none of it. */
export async function stagedRows(tenantId: string): Promise<number> {
  const [row] = await inspect<{ staged: number; failed: number; stored: number }>(
    tenantId,
    `select (select coalesce(sum(last_row - first_row + 1), 0)::int from $tenant.import_batches) as staged,
       (select coalesce(sum(failed), 0)::int from $tenant.import_batches) as failed,
       (select count(*)::int from $tenant.import_failures where by_itself) as stored`,
  );
  if (row?.failed !== row?.stored) throw new Error(`${row?.failed} rows failed, ${row?.stored} are stored`);
  return row?.staged ?? 0;
}

/** The totals of a list's answer by their currency. */
export function byCurrency({ totals }: { totals: { byCurrency: { currency: string }[] } }) {
  return Object.fromEntries(totals.byCurrency.map(({ currency, ...total }) => [currency, total as Record<string, unknown>]));
}
