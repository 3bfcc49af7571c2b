const oldest = 16;
const newest = 18;

/** The database is not what the programs need: its version, or what it lets the tenants' logins do. The message is a sentence. */
export class UnusableDatabase extends Error {}

/** What asks a question of the database: a client, a pool, or what stands for one. */
interface Queryable {
  query(text: string): Promise<{ rows: unknown[] }>;
}

/** Rejects with an UnusableDatabase on a server of another major version than those that are served. */
export async function requireServedVersion(database: Queryable): Promise<void> {
  const { rows } = await database.query(
    "select current_setting('server_version_num')::int / 10000 as major, current_setting('server_version') as version",
  );
  const [{ major, version }] = rows as [{ major: number; version: string }];
  if (major < oldest || major > newest)
    throw new UnusableDatabase(`PostgreSQL ${version} is not served: Cell CRM needs PostgreSQL 16, 17 or 18.`);
}
