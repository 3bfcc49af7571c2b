import { once } from "node:events";
import { connect } from "node:net";
import { type Embedded, startEmbedded } from "@cell/postgres/embedded";
import pg from "pg";
import { gatewayPassword, type Secrets } from "./secrets.ts";
import type { Settings } from "./settings.ts";

export interface Database {
  /** Owner's URL, for people and tools. */
  url: string;
  /** Owner's URL for the cells: the shortest way in. */
  ownerUrl: string;
  /** The same database as role `gateway`, which owns the schema `gateway` and nothing else. */
  gatewayUrl: string;
  /** Undefined when the server is not ours. */
  embedded: Embedded | undefined;
}

const minVersion = 15;

/** Starts the embedded PostgreSQL, or checks the one of DATABASE_URL. Rejects with a sentence. */
export async function openDatabase(
  settings: Settings,
  secrets: Secrets,
  log: (line: string) => void,
  onRestart: () => void,
): Promise<Database> {
  const { dataDir, databasePort: port, databaseUrl } = settings;
  const embedded = databaseUrl === undefined ? await startEmbedded({ dataDir, log, onRestart, ...(port ? { port } : {}) }) : undefined;
  const url = embedded?.url ?? (await checkUrl(databaseUrl ?? "", log));
  const ownerUrl = embedded?.socketUrl ?? url;
  const gateway = new URL(ownerUrl);
  gateway.username = "gateway";
  gateway.password = gatewayPassword(secrets);
  return { url, ownerUrl, gatewayUrl: gateway.href, embedded };
}

/** Makes role and schema `gateway`, or gives an existing role the password of this data directory. */
export async function ensureGatewayRole({ ownerUrl }: Database, secrets: Secrets): Promise<void> {
  const client = new pg.Client({ connectionString: ownerUrl });
  await client.connect();
  try {
    const { rowCount } = await client.query("select from pg_roles where rolname = 'gateway'");
    const password = pg.escapeLiteral(gatewayPassword(secrets));
    await client.query(`${rowCount ? "alter" : "create"} role gateway login password ${password}`);
    const owned = await client.query("select from pg_namespace where nspname = 'gateway'");
    if (owned.rowCount) return;
    // Whoever is no superuser must be a member of the role to make a schema for it.
    await client.query("grant gateway to current_user");
    await client.query("create schema gateway authorization gateway");
  } finally {
    await client.end();
  }
}

/** Returns the URL in a form that `new URL` reads. Rejects with a sentence when it leads to no database that can be used. */
async function checkUrl(text: string, log: (line: string) => void): Promise<string> {
  const url = URL.parse(text) ?? URL.parse(text.replace("@/", "@localhost/"));
  if (!url || !/^postgres(ql)?:$/.test(url.protocol))
    throw new Error("DATABASE_URL must be written postgres://user:password@host:port/database.");
  const host = url.searchParams.get("host") ?? decodeURIComponent(url.hostname);
  const port = Number(url.searchParams.get("port") ?? (url.port || 5432));
  const place = host.startsWith("/") ? host : `${host}:${port}`;
  await probe(host, port, place);

  const client = new pg.Client({ connectionString: url.href, connectionTimeoutMillis: 5_000 });
  try {
    await client.connect();
    await checkServer(client, log);
  } catch (error) {
    const { code, message } = error as pg.DatabaseError;
    if (code === "28P01" || code === "28000")
      throw new Error(`DATABASE_URL: the server at ${place} refuses this user and password (${message}).`);
    if (code === "3D000") throw new Error(`DATABASE_URL: there is no such database on the server at ${place} (${message}).`);
    throw new Error(message.startsWith("DATABASE_URL") ? message : `DATABASE_URL: the server at ${place} cannot be used (${message}).`);
  } finally {
    await client.end();
  }
  return url.href;
}

async function checkServer(client: pg.Client, log: (line: string) => void): Promise<void> {
  const { rows } = await client.query<{ version: number; encoding: string; chinese: boolean; rights: boolean; role: string }>(`
    select current_setting('server_version_num')::int / 10000 as version, current_setting('server_encoding') as encoding,
      '某' ~ '[[:alpha:]]' as chinese, current_user as role,
      (rolsuper or rolcreaterole) and has_database_privilege(current_database(), 'create') as rights
    from pg_roles where rolname = current_user`);
  const [server] = rows;
  if (!server) throw new Error("its catalogue cannot be read");
  if (server.version < minVersion)
    throw new Error(`DATABASE_URL: PostgreSQL ${server.version} is too old, ${minVersion} or newer is needed.`);
  if (server.encoding !== "UTF8") throw new Error(`DATABASE_URL: the database is encoded in ${server.encoding}, and UTF8 is needed.`);
  if (!server.rights) {
    throw new Error(`DATABASE_URL: the role ${server.role} must be allowed to create roles, and schemas in this database.`);
  }
  if (!server.chinese)
    log("DATABASE_URL: the database has the character classes of the locale C, by which Chinese cannot be searched; C.UTF-8 has them.");
}

/** Asks for TLS as every client does: PostgreSQL answers S or N, and nothing else does. */
async function probe(host: string, port: number, place: string): Promise<void> {
  const socket = host.startsWith("/") ? connect(`${host}/.s.PGSQL.${port}`) : connect(port, host);
  socket.once("end", () => socket.destroy(new Error("closed")));
  const signal = AbortSignal.timeout(5_000);
  let connected = false;
  try {
    await once(socket, "connect", { signal });
    connected = true;
    socket.write(Buffer.from([0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f]));
    const [answer] = (await once(socket, "data", { signal })) as [Buffer];
    if (answer.length !== 1 || !"SN".includes(answer.toString("latin1"))) throw new Error("another protocol");
  } catch (error) {
    if (connected) throw new Error(`DATABASE_URL: what answers at ${place} is not PostgreSQL.`, { cause: error });
    throw new Error(`DATABASE_URL: no server answers at ${place} (${(error as NodeJS.ErrnoException).code ?? "no answer in 5 s"}).`, {
      cause: error,
    });
  } finally {
    socket.destroy();
  }
}
