import { schemaOf } from "@cell/postgres/tenants";
import { idOf } from "./data.ts";
import type { Stack } from "./stack.ts";

export interface ListPage {
  data: { customerId: string }[];
  total: number;
  nextCursor: string | null;
}

/** A position in the list of customers, newest first. */
export interface Place {
  id: string;
  createdAt: string;
  cursor: string;
}

/** Cursors after the n-th customers, derived from one of the product's: paging to each would take too many requests. */
export async function cursors(stack: Stack, tenantId: string, given: string | null, numbers: readonly number[]): Promise<Place[]> {
  const [fingerprint, , total, isBound] = JSON.parse(Buffer.from(given ?? "", "base64url").toString()) as unknown[];
  const { rows } = await stack.superuser.query<{ id: string; at: Date }>(
    `select customer_id as id, created_at as at from "${schemaOf(tenantId)}".customers where customer_id = any($1::uuid[])`,
    [numbers.map(idOf)],
  );
  return rows.map(({ id, at }) => {
    const createdAt = at.toISOString();
    const cursor = Buffer.from(JSON.stringify([fingerprint, 2, total, isBound, [createdAt, id]])).toString("base64url");
    return { id, createdAt, cursor };
  });
}
