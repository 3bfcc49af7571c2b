import type { RecordVisibility, RequestContext } from "@cell/cell";
import type { TenantDb } from "@cell/postgres";
import { sql } from "kysely";
import { db } from "./tables.ts";

/** Those of some records that belong to an owner, directly or by their customer; includes deleted ones. */
export type OwnedBy = (tenant: TenantDb, ids: readonly string[], ownerId: string) => Promise<string[]>;

/** Those of some records that exist and that the caller may read. */
export async function readableIds(
  { caller, tenant }: Pick<RequestContext, "caller" | "tenant">,
  ownedBy: OwnedBy,
  ids: readonly string[],
): Promise<ReadonlySet<unknown>> {
  if (ids.length === 0 || !caller.permissions.includes("crm:read")) return new Set();
  return new Set(caller.scope === "own" ? await ownedBy(tenant.reader(), ids, caller.userId) : ids);
}

/** The id of another record for an error's details: null for a record that the caller may not read. */
export async function namedId(
  context: Pick<RequestContext, "caller" | "tenant">,
  ownedBy: OwnedBy,
  id: string | null | undefined,
): Promise<string | null> {
  return id && (await readableIds(context, ownedBy, [id])).has(id) ? id : null;
}

/** Decides who may see a resource's records, for replays. */
export function recordVisibility({ title }: { title: string }, ownedBy: OwnedBy): RecordVisibility {
  return {
    title,
    covers: async ({ caller, tenant }, id) => caller.scope !== "own" || (await ownedBy(tenant.reader(), [id], caller.userId)).includes(id),
  };
}

/** A customer's records are visible to everyone who may see the customer, even if it is deleted. */
export function atCustomerOf(table: "contacts" | "contracts" | "payments", owner: unknown) {
  return sql<boolean>`exists (${db
    .selectFrom("customers")
    .select(sql`1`.as("one"))
    .whereRef("customers.customerId", "=", sql.ref(`${table}.customerId`))
    .where(sql<boolean>`owner_id = ${owner}`)})`;
}
