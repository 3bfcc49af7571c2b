const oldest = 16;
const newest = 18;

/** The database does not meet the programs' needs, by its version or its hardening. The message is a sentence. */
export class UnusableDatabase extends Error {}

/** A client, a pool, or a stand-in. */
interface Queryable {
  query(text: string): Promise<{ rows: unknown[] }>;
}

/** Rejects with an UnusableDatabase on a server of an unsupported major version. */
export async function requireServedVersion(database: Queryable): Promise<void> {
  const { rows } = await database.query(
    "select current_setting('server_version_num')::int / 10000 as major, current_setting('server_version') as version",
  );
  const [{ major, version }] = rows as [{ major: number; version: string }];
  if (major < oldest || major > newest)
    throw new UnusableDatabase(`PostgreSQL ${version} is not supported: Cell CRM needs PostgreSQL 16, 17 or 18.`);
}
