import type { Call } from "@cell/cell";
import { sql } from "kysely";
import { db } from "./tables.ts";

/** Whose records a caller may see: one owner's, or with null everybody's. */
export type Visibility = string | null;

export function visibility({ caller }: Pick<Call, "caller">): Visibility {
  return caller.scope === "own" ? caller.userId : null;
}

/** What hangs on a customer is seen by who sees the customer; a deleted one's too: it stays. */
export function atCustomerOf(table: "contacts" | "contracts" | "payments", owner: unknown) {
  return sql<boolean>`exists (${db
    .selectFrom("customers")
    .select(sql`1`.as("one"))
    .whereRef("customers.customerId", "=", `${table}.customerId` as never)
    .where(sql<boolean>`owner_id = ${owner}`)})`;
}
