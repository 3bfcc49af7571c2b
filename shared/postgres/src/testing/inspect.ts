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

/** Number of rows and checksum by table of a tenant. */
export async function fingerprint(tenantId: string): Promise<Record<string, string>> {
  const tables = await inspect<{ name: string }>(
    tenantId,
    "select relname as name from pg_class where relkind = 'r' and relnamespace = $1::regnamespace order by 1",
    [schemaOf(tenantId)],
  );
  const sums: Record<string, string> = {};
  for (const { name } of tables) {
    const sum = `select count(*) || ' ' || coalesce(md5(string_agg(row::text, E'\\n' order by row::text)), '') as sum from $tenant."${name}" as row`;
    sums[name] = (await inspect<{ sum: string }>(tenantId, sum))[0]?.sum ?? "";
  }
  return sums;
}
