import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import pg from "pg";
import { withLogin } from "./pool/connection.ts";

const script = new URL("../../../deploy/postgres/bootstrap.sql", import.meta.url);

export interface BootstrapOptions {
  /** Of a superuser, to the product's database. */
  url: string;
  /** Passwords of the programs' roles. */
  passwords: { crm: string; gateway: string };
}

/** The database URL of each program. */
export interface ProgramUrls {
  crm: string;
  gateway: string;
}

/** Runs `deploy/postgres/bootstrap.sql` unless it has run, and sets the passwords of the programs' roles. */
export async function bootstrapDatabase({ url, passwords }: BootstrapOptions): Promise<ProgramUrls> {
  const text = readFileSync(script, "utf8");
  const mark = `bootstrap.sql ${createHash("sha256").update(text).digest("hex").slice(0, 16)}`;
  const client = new pg.Client({ connectionString: url, application_name: "bootstrap" });
  await client.connect();
  try {
    if (!(await isBootstrapped(client, mark))) {
      for (const statement of text.split(/;\n\n/)) await client.query(statement);
      await client.query(`comment on schema gateway is '${mark}'`);
    }
    for (const [role, password] of Object.entries(passwords))
      await client.query(`alter role ${role} password ${pg.escapeLiteral(password)}`);
  } finally {
    await client.end();
  }
  const urlOf = (user: "crm" | "gateway") => withLogin(url, { user, password: passwords[user] });
  return { crm: urlOf("crm"), gateway: urlOf("gateway") };
}

/** Whether this version of the script has run in this database; the roles belong to the server and may have changed since. */
async function isBootstrapped(client: pg.Client, mark: string): Promise<boolean> {
  const { rowCount } = await client.query(
    `select from pg_roles crm, pg_roles gateway, pg_database d
     where obj_description(to_regnamespace('gateway'), 'pg_namespace') = $1 and d.datname = current_database() and d.datdba = crm.oid
       and crm.rolname = 'crm' and crm.rolcreaterole and not crm.rolsuper and pg_has_role(crm.oid, 'pg_monitor', 'usage')
       and gateway.rolname = 'gateway' and not gateway.rolsuper`,
    [mark],
  );
  return rowCount === 1;
}
