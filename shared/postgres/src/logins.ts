import { createHash } from "node:crypto";
import type pg from "pg";
import type { Access, Login } from "./pool/connection.ts";
import { tenantAccess, tenantLogin } from "./tenants.ts";

/** Whether each tenant's statements run on a login of its own, or all of them on one. */
export type TenantLogins = "own" | "shared";

/** The logins of a cell's tenants: each has one of its own in either mode; the shared one may act for those that it was lent. */
export class Logins {
  /** Tells what was granted to a tenant: whether its password comes out of the present secret, without telling the secret, and whether the shared login may act for it. */
  readonly key: string;
  readonly #mode: TenantLogins;
  readonly #secret: string;
  readonly #shared: Login;

  constructor({ cell, logins, loginSecret }: { cell: string; logins: TenantLogins; loginSecret: string }) {
    const key = createHash("sha256").update(`login key ${loginSecret}`).digest("hex").slice(0, 16);
    this.key = logins === "shared" ? `${key} shared` : key;
    this.#mode = logins;
    this.#secret = loginSecret;
    this.#shared = tenantLogin(`${cell}_shared`, loginSecret);
  }

  /** As whom the statements of a tenant's schema run. */
  access(schema: string): Access {
    return tenantAccess(schema, this.#mode === "shared" ? this.#shared : tenantLogin(schema, this.#secret));
  }

  /** Whether what was granted lets this process in. */
  accepts(granted: string): boolean {
    return granted === this.key || (this.#mode === "own" && granted === `${this.key} shared`);
  }

  /** Grants a tenant's logins what the mode needs, and takes away what it does not, inside the owner's transaction. */
  async grant(client: pg.ClientBase, schema: string): Promise<void> {
    const { password } = tenantLogin(schema, this.#secret);
    const { rowCount } = await client.query("select from pg_roles where rolname = $1", [schema]);
    // Without it the role that makes another one may alter it, and neither end its sessions nor drop what it owns.
    if (rowCount === 0) await client.query("set local createrole_self_grant = 'set, inherit'");
    await client.query(
      `${rowCount === 0 ? "create" : "alter"} role "${schema}" login noinherit connection limit 64 password '${password}'`,
    );
    if (this.#mode === "own") return unshareTenant(client, this.#shared.user, schema);
    await ensureSharedLogin(client, this.#shared, false);
    await shareTenant(client, this.#shared.user, schema);
  }

  /** Gives the owner the rights of a tenant's role, where the role was made without them, inside the owner's transaction. */
  async takeOver(client: pg.ClientBase, schema: string): Promise<void> {
    const { rowCount } = await client.query("select from pg_roles where rolname = $1 and not pg_has_role(oid, 'usage')", [schema]);
    if (rowCount === 1) await client.query(`grant "${schema}" to current_user with inherit true, set true`);
  }

  /** Gives the shared login the password of the present secret, where it is used, inside the owner's transaction. */
  async renew(client: pg.ClientBase): Promise<void> {
    if (this.#mode === "shared") await ensureSharedLogin(client, this.#shared, true);
  }
}

/** Makes the login that acts for all tenants, inside the owner's transaction; with `renew` it also gets its password anew. */
async function ensureSharedLogin(client: pg.ClientBase, { user, password }: Login, renew: boolean): Promise<void> {
  const exists = async () => (await client.query("select from pg_roles where rolname = $1", [user])).rowCount === 1;
  if (!renew && (await exists())) return;
  // Two that make or change one role at once would refuse each other with "tuple concurrently updated".
  await client.query("select pg_advisory_xact_lock(hashtextextended($1, 0))", [`login ${user}`]);
  // By itself it may do nothing: without NOINHERIT it would have the rights of all tenants at once.
  if (!(await exists())) await client.query(`create role "${user}" login noinherit password '${password}'`);
  else if (renew) await client.query(`alter role "${user}" login noinherit password '${password}'`);
}

/** Lets the shared login take a tenant's role. */
async function shareTenant(client: pg.ClientBase, user: string, role: string): Promise<void> {
  if (!(await isShared(client, user, role))) await client.query(`grant "${role}" to "${user}"`);
}

/** Takes a tenant's role from the shared login. */
async function unshareTenant(client: pg.ClientBase, user: string, role: string): Promise<void> {
  if (await isShared(client, user, role)) await client.query(`revoke "${role}" from "${user}"`);
}

async function isShared(client: pg.ClientBase, user: string, role: string): Promise<boolean> {
  const { rowCount } = await client.query(
    `select from pg_auth_members m join pg_roles taken on taken.oid = m.roleid join pg_roles taking on taking.oid = m.member
     where taken.rolname = $1 and taking.rolname = $2`,
    [role, user],
  );
  return (rowCount ?? 0) > 0;
}
