import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { startProgram } from "../harness/program.ts";
import { connected, fillCustomers } from "./database.ts";
import { installPackages } from "./npm.ts";
import type { Product } from "./peer.ts";

const version = "5.1.5";
const fields = `customerId name contactName contactPhone contactEmail industry level source status ownerId address tags notes customFields
  createdAt updatedAt version`;

/**
 * PostGraphile with its amber preset on the benchmark's Node: without authentication, and a creation is a plain insert, without audit or
 * idempotency.
 */
export const postgraphile: Product = {
  name: `PostGraphile ${version}`,
  id: "postgraphile",
  async start({ stack, dir, port, databaseUrl, customers, log }) {
    await installPackages({ dir, dependencies: { postgraphile: version }, node: process.execPath, log });
    writeFileSync(join(dir, "graphile.config.mjs"), config);
    await connected(databaseUrl, (client) => client.query(table));
    await fillCustomers(databaseUrl, customers, "text[]");
    const url = `http://127.0.0.1:${port}`;
    const started = await startProgram({
      name: this.name,
      program: process.execPath,
      args: [join("node_modules", "postgraphile", "dist", "cli-run.js")],
      cwd: dir,
      env: { NODE_ENV: "production", GRAPHILE_ENV: "production", PORT: String(port), DATABASE_URL: databaseUrl },
      url: `${url}/graphql`,
      logPath: join(stack.config.dataDir, "logs", `${this.id}.log`),
      onPid: (pid) => stack.record(this.id, pid),
    });
    return {
      ...started,
      url,
      get: (id) => ask(`query ($id: UUID!) { customerByCustomerId(customerId: $id) { ${fields} } }`, { id }),
      list: ask(`{ allCustomers(first: 20, orderBy: [CREATED_AT_DESC, CUSTOMER_ID_DESC]) { nodes { ${fields} } } }`),
      create: (customer) =>
        ask(`mutation ($customer: CustomerInput!) { createCustomer(input: { customer: $customer }) { customer { ${fields} } } }`, {
          customer,
        }),
    };
  },
};

const config = `import { makePgService } from "postgraphile/adaptors/pg";
import { PostGraphileAmberPreset } from "postgraphile/presets/amber";

export default {
  extends: [PostGraphileAmberPreset],
  pgServices: [makePgService({ connectionString: process.env.DATABASE_URL, schemas: ["public"] })],
  grafserv: { host: "127.0.0.1", port: Number(process.env.PORT), graphiql: false, watch: false },
};
`;

const table = `create table customers (
  customer_id uuid primary key default gen_random_uuid(), name text not null, contact_name text, contact_phone text, contact_email text,
  industry text, level text, source text, status text not null default 'lead', owner_id text, address text, tags text[] not null default '{}',
  notes text, custom_fields jsonb not null default '{}', created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(), version int not null default 1)`;

function ask(query: string, variables: Record<string, unknown> = {}) {
  const body = JSON.stringify({ query: query.replaceAll(/\s+/g, " "), variables });
  return { method: "POST", path: "/graphql", headers: { "content-type": "application/json" }, body };
}
