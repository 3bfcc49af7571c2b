import type { RecordVisibility, RequestContext } from "@cell/cell";
import type { TenantDb } from "@cell/postgres";
import { sql } from "kysely";
import { db } from "./tables.ts";

/** Those of some records, deleted ones too, that someone owns by themselves or by their customer. */
export type OwnedBy = (tenant: TenantDb, ids: readonly string[], ownerId: string) => Promise<string[]>;

/** Those of some records that the caller may read, as far as they exist. */
export async function readableIds(
  { caller, tenant }: Pick<RequestContext, "caller" | "tenant">,
  ownedBy: OwnedBy,
  ids: readonly string[],
): Promise<ReadonlySet<unknown>> {
  if (ids.length === 0 || !caller.permissions.includes("crm:read")) return new Set();
  return new Set(caller.scope === "own" ? await ownedBy(tenant.reader(), ids, caller.userId) : ids);
}

/** The id of another record as a refusal may name it: null for a record that the caller may not read. */
export async function namedId(
  context: Pick<RequestContext, "caller" | "tenant">,
  ownedBy: OwnedBy,
  id: string | null | undefined,
): Promise<string | null> {
  return id && (await readableIds(context, ownedBy, [id])).has(id) ? id : null;
}

/** Who sees the records of a resource, for the answers to repeats. */
export function recordVisibility({ title }: { title: string }, ownedBy: OwnedBy): RecordVisibility {
  return {
    title,
    covers: async ({ caller, tenant }, id) => caller.scope !== "own" || (await ownedBy(tenant.reader(), [id], caller.userId)).includes(id),
  };
}

/** What hangs on a customer is seen by who sees the customer; a deleted one's too: it stays. */
export function atCustomerOf(table: "contacts" | "contracts" | "payments", owner: unknown) {
  return sql<boolean>`exists (${db
    .selectFrom("customers")
    .select(sql`1`.as("one"))
    .whereRef("customers.customerId", "=", sql.ref(`${table}.customerId`))
    .where(sql<boolean>`owner_id = ${owner}`)})`;
}
