import pg from "pg";
import { customers } from "../harness/data.ts";
import type { Stack } from "../harness/stack.ts";

const fields = [
  ...["customer_id", "name", "contact_name", "contact_phone", "contact_email", "industry", "level", "source", "status", "owner_id"],
  ...["address", "tags", "notes", "custom_fields", "created_at", "updated_at", "version"],
];

/** Creates an empty database with this name; resolves to its URL through the unix socket. */
export async function makeDatabase(stack: Stack, name: string): Promise<string> {
  await dropDatabase(stack, name);
  await stack.superuser.query(`create database ${name} owner crm`);
  return Object.assign(new URL(stack.databaseUrl), { pathname: name }).href;
}

export async function dropDatabase(stack: Stack, name: string): Promise<void> {
  await stack.superuser.query(`drop database if exists ${name} with (force)`);
}

/**
 * Fills the table `customers`, with tags of that type, with the customers of the product's own tenants, and creates the index for the
 * list's order.
 */
export async function fillCustomers(url: string, count: number, tagsType: "json" | "text[]"): Promise<void> {
  const tags = tagsType === "json" ? "to_json(tags)" : "tags";
  await connected(url, async (client) => {
    await client.query(`create temp table customers (customer_id uuid, name text, name_key text, contact_name text, contact_phone text,
      contact_email text, industry text, level text, source text, status text, owner_id text, address text, tags text[], notes text,
      custom_fields jsonb, created_at timestamptz, updated_at timestamptz, version int)`);
    await client.query(customers("pg_temp", count));
    await client.query(
      `insert into public.customers (${fields}) select ${fields.map((field) => (field === "tags" ? tags : field))} from pg_temp.customers`,
    );
    await client.query("create index customers_created_at on public.customers (created_at, customer_id)");
    await client.query("vacuum (analyze, freeze) public.customers");
    await client.query("checkpoint");
  });
}

/** How many customers there are. */
export async function countCustomers(url: string): Promise<number> {
  return connected(url, async (client) => {
    const { rows } = await client.query<{ count: number }>("select count(*)::int as count from public.customers");
    return rows[0]?.count ?? 0;
  });
}

export async function connected<T>(url: string, work: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}
