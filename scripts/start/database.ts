import { once } from "node:events";
import { connect } from "node:net";
import { bootstrapDatabase, type ProgramUrls } from "@cell/postgres/bootstrap";
import { type Embedded, startEmbedded } from "@cell/postgres/embedded";
import { unrevokedFunctions } from "@cell/postgres/hardening";
import { withLogin } from "@cell/postgres/pool/connection";
import { requireServedVersion, UnusableDatabase } from "@cell/postgres/versions";
import pg from "pg";
import { rolePasswords, type Secrets } from "./secrets.ts";
import type { Settings } from "./settings.ts";

export interface Database {
  /** For people and tools: the superuser's URL of the embedded server, else DATABASE_URL. */
  url: string;
  /** For the programs, none of which connects as a superuser. */
  urls: ProgramUrls;
  /** Undefined if the server is not embedded. */
  embedded: Embedded | undefined;
}

/** Starts the embedded PostgreSQL, or checks the one of DATABASE_URL, and creates the programs' roles. Rejects with a sentence. */
export async function openDatabase(
  settings: Settings,
  secrets: Secrets,
  log: (line: string) => void,
  onRestart: () => void,
): Promise<Database> {
  const { dataDir, databasePort: port, databaseUrl } = settings;
  if (databaseUrl !== undefined) return openGiven(databaseUrl, secrets, log);
  log("Starting PostgreSQL.");
  const embedded = await startEmbedded({ dataDir, log, onRestart, ...(port ? { port } : {}) });
  try {
    const urls = await bootstrapDatabase({ url: embedded.socketUrl, passwords: rolePasswords(secrets) });
    return { url: embedded.url, urls, embedded };
  } catch (error) {
    await embedded.stop();
    throw error;
  }
}

async function openGiven(text: string, secrets: Secrets, log: (line: string) => void): Promise<Database> {
  log("Checking the database of DATABASE_URL.");
  const { url, superuser } = await checkUrl(text, log);
  const passwords = rolePasswords(secrets);
  const urls = superuser ? await bootstrapDatabase({ url, passwords }) : await makeGatewayRole(url, passwords.gateway);
  return { url, urls, embedded: undefined };
}

/** The part of `bootstrap.sql` that needs no superuser: role and schema `gateway`. The cell connects as the URL's role. */
async function makeGatewayRole(url: string, password: string): Promise<ProgramUrls> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    const { rowCount } = await client.query("select from pg_roles where rolname = 'gateway'");
    try {
      await client.query(`${rowCount ? "alter" : "create"} role gateway login password ${pg.escapeLiteral(password)}`);
    } catch (error) {
      if ((error as pg.DatabaseError).code !== "42501") throw error;
      throw new Error("DATABASE_URL: its role may not set the password of the role gateway, which another role created: use a superuser.", {
        cause: error,
      });
    }
    const owned = await client.query("select from pg_namespace where nspname = 'gateway'");
    if (!owned.rowCount) {
      // Only a member of the role may create a schema for it.
      await client.query("grant gateway to current_user");
      await client.query("create schema gateway authorization gateway");
    }
  } finally {
    await client.end();
  }
  return { crm: url, gateway: withLogin(url, { user: "gateway", password }) };
}

/**
 * Returns the URL in a form that `new URL` reads, and whether its role is a superuser. Rejects with a sentence if it does not lead to a
 * usable database.
 */
async function checkUrl(text: string, log: (line: string) => void): Promise<{ url: string; superuser: boolean }> {
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
    return { url: url.href, superuser: await checkServer(client, log) };
  } catch (error) {
    const { code, message } = error as pg.DatabaseError;
    if (error instanceof UnusableDatabase) throw new Error(`DATABASE_URL: ${message}`);
    if (code === "28P01" || code === "28000")
      throw new Error(`DATABASE_URL: the server at ${place} rejects this user and password (${message}).`);
    if (code === "3D000") throw new Error(`DATABASE_URL: there is no such database on the server at ${place} (${message}).`);
    throw new Error(message.startsWith("DATABASE_URL") ? message : `DATABASE_URL: the server at ${place} cannot be used (${message}).`);
  } finally {
    await client.end();
  }
}

/** Resolves to whether the connection's role is a superuser. */
async function checkServer(client: pg.Client, log: (line: string) => void): Promise<boolean> {
  await requireServedVersion(client);
  const { rows } = await client.query<{ encoding: string; chinese: boolean; superuser: boolean; rights: boolean; role: string }>(`
    select current_setting('server_encoding') as encoding,
      '某' ~ '[[:alpha:]]' as chinese, current_user as role, rolsuper as superuser,
      (rolsuper or rolcreaterole) and has_database_privilege(current_database(), 'create') as rights
    from pg_roles where rolname = current_user`);
  const [server] = rows;
  if (!server) throw new Error("its catalogue cannot be read");
  if (server.encoding !== "UTF8") throw new Error(`DATABASE_URL: the database is encoded in ${server.encoding}, and UTF8 is needed.`);
  if (!server.rights) {
    throw new Error(`DATABASE_URL: the role ${server.role} must be allowed to create roles, and schemas in this database.`);
  }
  if (server.superuser && server.role === "crm")
    throw new Error(
      "DATABASE_URL: its role crm is a superuser, but the cell's role, which is not, needs this name: use another superuser.",
    );
  if (!server.chinese)
    log("DATABASE_URL: the database has the character classes of the locale C, by which Chinese cannot be searched; C.UTF-8 has them.");
  if (!server.superuser && (await unrevokedFunctions(client)).length > 0)
    log(
      "DATABASE_URL: no superuser has run deploy/postgres/bootstrap.sql, so the tenants' logins may call functions that it would revoke.",
    );
  return server.superuser;
}

/** Requests TLS as every client does: PostgreSQL responds with S or N, and nothing else does. */
async function probe(host: string, port: number, place: string): Promise<void> {
  const socket = host.startsWith("/") ? connect(`${host}/.s.PGSQL.${port}`) : connect(port, host);
  socket.once("end", () => socket.destroy(new Error("closed")));
  const signal = AbortSignal.timeout(5_000);
  let connected = false;
  try {
    await once(socket, "connect", { signal });
    connected = true;
    socket.write(Buffer.from([0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f]));
    const [response] = (await once(socket, "data", { signal })) as [Buffer];
    if (response.length !== 1 || !"SN".includes(response.toString("latin1"))) throw new Error("another protocol");
  } catch (error) {
    if (connected) throw new Error(`DATABASE_URL: the server at ${place} is not PostgreSQL.`, { cause: error });
    throw new Error(`DATABASE_URL: no server responds at ${place} (${(error as NodeJS.ErrnoException).code ?? "no response in 5 s"}).`, {
      cause: error,
    });
  } finally {
    socket.destroy();
  }
}
