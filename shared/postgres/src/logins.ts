import { createHash } from "node:crypto";
import type pg from "pg";
import type { Access, Login } from "./pool/connection.ts";
import { tenantAccess, tenantLogin } from "./tenants.ts";

/** Whether each tenant's statements run on a login of its own, or all of them on a shared one. */
export type TenantLogins = "own" | "shared";

/** The logins of a cell's tenants. Each tenant has its own login in either mode; the shared login may act for the tenants granted to it. */
export class Logins {
  /** Identifies what was granted to a tenant: a change of the secret or of the mode changes it. It does not reveal the secret. */
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

  /** The login and role of a tenant's statements. */
  access(schema: string): Access {
    return tenantAccess(schema, this.#mode === "shared" ? this.#shared : tenantLogin(schema, this.#secret));
  }

  /** Whether this process can log in with what was granted. */
  accepts(granted: string): boolean {
    return granted === this.key || (this.#mode === "own" && granted === `${this.key} shared`);
  }

  /** Grants a tenant's logins what the mode needs and revokes the rest, inside the owner's transaction. */
  async grant(client: pg.ClientBase, schema: string): Promise<void> {
    const { password } = tenantLogin(schema, this.#secret);
    const { rowCount } = await client.query("select from pg_roles where rolname = $1", [schema]);
    // Without it, a role that creates another one may alter it, but neither end its sessions nor drop its objects.
    if (rowCount === 0) await client.query("set local createrole_self_grant = 'set, inherit'");
    await client.query(
      `${rowCount === 0 ? "create" : "alter"} role "${schema}" login noinherit connection limit 64 password '${password}'`,
    );
    if (this.#mode === "own") return unshareTenant(client, this.#shared.user, schema);
    await ensureSharedLogin(client, this.#shared, false);
    await shareTenant(client, this.#shared.user, schema);
  }

  /** Gives the owner the rights of a tenant's role that was created without them, inside the owner's transaction. */
  async takeOver(client: pg.ClientBase, schema: string): Promise<void> {
    const { rowCount } = await client.query("select from pg_roles where rolname = $1 and not pg_has_role(oid, 'usage')", [schema]);
    if (rowCount === 1) await client.query(`grant "${schema}" to current_user with inherit true, set true`);
  }

  /** Sets the shared login's password from the current secret, if that login is used, inside the owner's transaction. */
  async renew(client: pg.ClientBase): Promise<void> {
    if (this.#mode === "shared") await ensureSharedLogin(client, this.#shared, true);
  }
}

/** Creates the login that acts for all tenants, inside the owner's transaction; `renew` also sets its password. */
async function ensureSharedLogin(client: pg.ClientBase, { user, password }: Login, renew: boolean): Promise<void> {
  const exists = async () => (await client.query("select from pg_roles where rolname = $1", [user])).rowCount === 1;
  if (!renew && (await exists())) return;
  // Concurrent changes of one role would fail with "tuple concurrently updated".
  await client.query("select pg_advisory_xact_lock(hashtextextended($1, 0))", [`login ${user}`]);
  // It has no rights by itself: without NOINHERIT it would have the rights of all tenants at once.
  if (!(await exists())) await client.query(`create role "${user}" login noinherit password '${password}'`);
  else if (renew) await client.query(`alter role "${user}" login noinherit password '${password}'`);
}

/** Lets the shared login take a tenant's role. */
async function shareTenant(client: pg.ClientBase, user: string, role: string): Promise<void> {
  if (!(await isShared(client, user, role))) await client.query(`grant "${role}" to "${user}"`);
}

/** Revokes a tenant's role from the shared login. */
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
