import { randomBytes, randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import type { operationsOf } from "@cell/cell/testing/conformance";
import type { TestClient, TestResponse } from "@cell/cell/testing/test-cell";
import pg from "pg";
import { inspect } from "./test-crm.ts";

export type Operation = ReturnType<typeof operationsOf>[number];

/** The records of a tenant, each id by its collection's path; all names and texts contain the mark. */
export interface IsolationFixture {
  mark: string;
  /** A word to search for: unlike the mark, a searcher's own audit trail may contain it. */
  word: string;
  ids: Record<string, string>;
  /** Cursors of lists, which must not work for other tenants. */
  cursors: Record<string, string>;
  /** A used request id and its caller. */
  requestId: string;
  ownerId: string;
}

/** The collection's path of a route with an id. */
export function collectionOf(path: string): string {
  return path.slice(0, path.indexOf("/{"));
}

export function pipelineStages(mark: string): object[] {
  return [
    { stage: "new", name: `${mark} new`, type: "open", probability: 10 },
    { stage: "won", name: `${mark} won`, type: "won", probability: 100 },
    { stage: "lost", name: `${mark} lost`, type: "lost", probability: 0 },
  ];
}

/** Creates one record of each kind, and a second one where a list needs a cursor. */
export async function populate(client: TestClient, mark: string): Promise<IsolationFixture> {
  const made = async (path: string, body: object): Promise<TestResponse["body"]> => {
    const response = await client.post(path, { body, key: `${mark}-key` });
    if (response.status >= 300) throw new Error(`${path}: ${response.text}`);
    return response.body;
  };
  const word = `word${randomBytes(6).toString("hex")}`;
  const customer = {
    name: `${mark} 1`,
    contactName: word,
    contactPhone: "13800138000",
    contactEmail: `${mark}@example.com`,
    notes: `${mark} ${word}`,
  };
  const { customerId } = await made("/customers", customer);
  await client.post("/customers", { body: { name: `${mark} 2` } });
  const { contactId } = await made("/contacts", { customerId, name: mark, phone: "13900139000" });
  await client.post("/contacts", { body: { customerId, name: `${mark} 2` } });
  const { pipelineId } = await made("/pipelines", { name: mark, stages: pipelineStages(mark) });
  const deal = { customerId, pipelineId, stage: "new", name: `${mark} ${word}`, amount: "1234567.89", currency: "CNY" };
  const { opportunityId } = await made("/opportunities", deal);
  await client.post("/opportunities", { body: { ...deal, name: `${mark} 2` } });
  await client.patch(`/opportunities/${opportunityId}`, { body: { stage: "won" } });
  const contract = { customerId, opportunityId, name: mark, number: mark, amount: "1000.00", status: "active" };
  const { contractId } = await made("/contracts", contract);
  await client.post("/contracts", { body: { customerId, name: `${mark} 2`, amount: "7.00" } });
  const payment = { contractId, amount: "10.00", reference: mark, notes: mark, paidAt: "2026-01-02T00:00:00Z" };
  const { paymentId } = await made("/payments", payment);
  await client.post("/payments", { body: { ...payment, reference: `${mark} 2` } });
  const imported = await client.post("/customers/import", { raw: `name\n${mark} 3\n,\n`, headers: { "content-type": "text/csv" } });
  const webhook = await made("/webhooks", { url: `http://127.0.0.1:18249/${mark}`, events: ["customer.created"], description: mark });
  await client.post(`/webhooks/${webhook.webhookId}/test`);
  const deliveries = await client.get(`/webhooks/${webhook.webhookId}/deliveries`);
  const [entry] = (await client.get("/audit-logs?pageSize=1")).body.data;
  const cursors: Record<string, string> = {};
  for (const path of ["/customers", "/contacts", "/opportunities", "/contracts", "/payments", "/audit-logs"])
    cursors[path] = (await client.get(`${path}?pageSize=1`)).body.nextCursor;
  return {
    mark,
    word,
    cursors,
    requestId: `${mark}-key`,
    ownerId: client.principal.userId,
    ids: {
      "/customers": customerId,
      "/contacts": contactId,
      "/pipelines": pipelineId,
      "/opportunities": opportunityId,
      "/contracts": contractId,
      "/payments": paymentId,
      "/imports": imported.body.importId,
      "/audit-logs": entry.id,
      "/webhooks": webhook.webhookId,
      "{deliveryId}": deliveries.body.data[0].deliveryId,
    },
  };
}

/** The id for a field or parameter of this name; undefined if it does not refer to a record. */
export function referred(fixture: IsolationFixture, name: string): string | undefined {
  const kinds: Record<string, string> = { enteredPipelineId: "/pipelines", sourceIds: "/customers", resourceId: "/customers" };
  return fixture.ids[kinds[name] ?? `/${name.replace(/Id$/, "")}s`];
}

/** Number of rows and checksum by table of a tenant. */
export async function fingerprint(tenantId: string): Promise<Record<string, string>> {
  const tables = await inspect<{ name: string }>(
    tenantId,
    "select relname as name from pg_class where relkind = 'r' and relnamespace = $1::regnamespace order by 1",
    [`tenant_${tenantId.replaceAll("-", "_")}`],
  );
  const sums: Record<string, string> = {};
  for (const { name } of tables) {
    const sum = `select count(*) || ' ' || coalesce(md5(string_agg(row::text, E'\\n' order by row::text)), '') as sum from $tenant."${name}" as row`;
    sums[name] = (await inspect<{ sum: string }>(tenantId, sum))[0]?.sum ?? "";
  }
  return sums;
}

/** A response without what differs between requests: its request id, times, and the caller's own input. */
export function comparable({ status, text }: TestResponse, ...named: string[]): unknown {
  let plain = text.replace(/"requestId":"[^"]*"/g, "").replace(/\d{4}-\d\d-\d\dT[\d:.%A]+Z/g, "time");
  for (const id of named) plain = plain.replaceAll(id, "named");
  return { status, text: plain };
}

/** Records every statement that this process sends to PostgreSQL, with its login, until `stop`. */
export function recordStatements(): { sent: { user: string | undefined; text: string; mode: unknown }[]; stop(): void } {
  const sent: { user: string | undefined; text: string; mode: unknown }[] = [];
  const { query } = pg.Client.prototype;
  pg.Client.prototype.query = function (this: pg.Client, ...given: unknown[]) {
    const [config] = given as [string | { text: string; queryMode?: string; submit?: unknown }];
    if (typeof config === "string") sent.push({ user: this.user, text: config, mode: undefined });
    else if (typeof config?.text === "string")
      // Cursors always use the extended protocol.
      sent.push({ user: this.user, text: config.text, mode: config.submit ? "extended" : config.queryMode });
    return (query as (...all: unknown[]) => unknown).apply(this, given);
  } as typeof query;
  return {
    sent,
    stop() {
      pg.Client.prototype.query = query;
    },
  };
}

/** Resolves when this process has sent nothing for a while: background work of earlier requests has ended. */
export async function quiet(): Promise<void> {
  const { sent, stop } = recordStatements();
  for (let looks = 0; looks < 50; looks++) {
    sent.length = 0;
    await sleep(200);
    if (sent.length === 0) break;
  }
  stop();
}

/** An id that no record has. */
export const nobody = (): string => randomUUID();
