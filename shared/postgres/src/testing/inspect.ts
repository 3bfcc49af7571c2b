import pg from "pg";
import { inject } from "vitest";
import { schemaOf } from "../tenants.ts";

/** Rows of a tenant's tables, read as a superuser. `$tenant` stands for the schema. */
export async function inspect<Row extends object>(tenantId: string, sql: string, values: unknown[] = []): Promise<Row[]> {
  const client = new pg.Client({ connectionString: inject("superuserUrl") });
  await client.connect();
  try {
    const { rows } = await client.query<Row>(sql.replaceAll("$tenant", `"${schemaOf(tenantId)}"`), values);
    return rows;
  } finally {
    await client.end();
  }
}
