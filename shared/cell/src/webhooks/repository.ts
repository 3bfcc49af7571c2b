import { nextVersion, type Parameters, statement, type TenantDb, type TenantTx, valuesOf } from "@cell/postgres";
import { sql } from "kysely";
import { trailPosition } from "../audit/trail-position.ts";
import { ListRunner } from "../lists/lists.ts";
import type { Resource } from "../schema/resource.ts";
import type { StoredWebhook, Webhook } from "./schema.ts";
import type { SecretRef } from "./secrets.ts";
import { db } from "./tables.ts";

/** An endpoint to send to. */
export interface Target extends SecretRef {
  url: string;
  previousSecretKeyId: string | null;
  /** Whether the previous secret still signs. */
  previousSigns: boolean;
  failing: boolean;
  /** Whether it has only failed for too long. */
  givenUp: boolean;
}

const columns = [
  "webhookId",
  "url",
  "events",
  "description",
  "enabled",
  "disabledReason",
  "secretKeyId",
  "secretNumber",
  "previousSecretKeyId",
  "previousSecretUntil",
  "failingSince",
  "createdAt",
  "updatedAt",
  "version",
] as const;

const live = () => db.selectFrom("webhooks").select(columns).$castTo<StoredWebhook>().where("deletedAt", "is", null);

const byId = statement((p: Parameters<{ webhookId: string }>) => live().where("webhookId", "=", p.webhookId));

const countLive = statement((_: Parameters<object>) =>
  db
    .selectFrom("webhooks")
    .select((eb) => eb.fn.countAll<number>().as("count"))
    .where("deletedAt", "is", null),
);

const insertRow = statement((p: Parameters<StoredWebhook>) =>
  db.insertInto("webhooks").values({
    ...valuesOf(p, columns),
    // Only events from here on are sent.
    positionTransaction: trailPosition("current"),
    positionSeq: sql<string>`0`,
  }),
);

const updateRow = statement((p: Parameters<StoredWebhook & { read: number; fromHere: boolean }>) =>
  db
    .updateTable("webhooks")
    .set({
      ...valuesOf(p, columns.slice(1)),
      positionTransaction: sql<string>`case when ${p.fromHere}::boolean then ${trailPosition("current")} else position_transaction end`,
      positionSeq: sql<string>`case when ${p.fromHere}::boolean then 0 else position_seq end`,
    })
    .where("webhookId", "=", p.webhookId)
    .where("version", "=", p.read)
    .where("deletedAt", "is", null),
);

const deleteRow = statement((p: Parameters<{ webhookId: string; read: number; now: string }>) =>
  db
    .updateTable("webhooks")
    .set({ deletedAt: p.now, updatedAt: p.now, enabled: sql`false`, version: nextVersion })
    .where("webhookId", "=", p.webhookId)
    .where("version", "=", p.read)
    .where("deletedAt", "is", null),
);

const enabledIds = statement((_: Parameters<object>) =>
  db.selectFrom("webhooks").select("webhookId").where("enabled", "=", true).orderBy("webhookId"),
);

const enabledTarget = statement((p: Parameters<{ webhookId: string; failingForMs: number }>) =>
  db
    .selectFrom("webhooks")
    .select(["webhookId", "url", "secretKeyId", "secretNumber", "previousSecretKeyId"])
    .select([
      sql<boolean>`coalesce(previous_secret_until > now(), false)`.as("previousSigns"),
      sql<boolean>`failing_since is not null`.as("failing"),
      sql<boolean>`coalesce(failing_since < now() - ${p.failingForMs}::bigint * interval '1 millisecond', false)`.as("givenUp"),
    ])
    .where("webhookId", "=", p.webhookId)
    .where("enabled", "=", true),
);

const setFailing = statement((p: Parameters<{ webhookId: string }>) =>
  db.updateTable("webhooks").set({ failingSince: sql`now()` }).where("webhookId", "=", p.webhookId).where("failingSince", "is", null),
);

const setWorking = statement((p: Parameters<{ webhookId: string }>) =>
  db.updateTable("webhooks").set({ failingSince: null }).where("webhookId", "=", p.webhookId).where("failingSince", "is not", null),
);

/** Whether a tenant has any endpoints, including deleted ones with deliveries to sweep. */
export const hasWebhooks = 'exists (select from "$tenant".webhooks)';

/** An endpoint that was not deleted. */
export function find(tenant: TenantDb, webhookId: string): Promise<StoredWebhook | undefined> {
  return tenant.first(byId, { webhookId });
}

/** Number of endpoints. */
export async function count(tenant: TenantDb): Promise<number> {
  return (await tenant.first(countLive, {}))?.count ?? 0;
}

/** The ids of enabled endpoints. */
export async function enabled(tenant: TenantDb): Promise<string[]> {
  return (await tenant.query(enabledIds, {})).map(({ webhookId }) => webhookId);
}

/** An enabled endpoint to send to; `failingForMs`: how long it may fail. */
export function target(tenant: TenantDb, webhookId: string, failingForMs: number): Promise<Target | undefined> {
  return tenant.first(enabledTarget, { webhookId, failingForMs });
}

export function insert(tx: TenantTx, row: StoredWebhook) {
  return tx.change(insertRow, row);
}

/** Updates an endpoint that was read at version `read`; `fromHere` skips earlier events. */
export function update(tx: TenantTx, row: StoredWebhook, read: number, fromHere = false) {
  return tx.change(updateRow, { ...row, read, fromHere }, "webhook changed");
}

/** Deletes an endpoint that was read at version `read`; its deliveries are swept later. */
export function remove(tx: TenantTx, webhookId: string, read: number, now: string) {
  return tx.change(deleteRow, { webhookId, read, now }, "webhook changed");
}

/** Records that an attempt has failed or succeeded. */
export function noteHealth(tx: TenantTx, webhookId: string, works: boolean) {
  return tx.change(works ? setWorking : setFailing, { webhookId });
}

/** The lists of a cell's endpoints. */
export function webhookLists(webhook: Resource<Webhook>): ListRunner<Webhook> {
  return new ListRunner<Webhook>({
    resource: webhook,
    select: live,
    id: "webhookId",
    defaultSort: "createdAt",
    visibleTo: () => ({ cacheKey: "everyone's", values: [], sql: () => sql<boolean>`true` }),
    fields: {
      webhookId: { type: "uuid" },
      url: { type: "text", sort: true },
      enabled: { type: "boolean" },
      createdAt: { type: "time", sort: true },
      updatedAt: { type: "time", sort: true },
    },
  });
}
