import { createServer } from "node:net";
import { resolve } from "node:path";
import { freePort } from "@cell/postgres/embedded/postmaster";

export interface Settings {
  /** Where the gateway listens; the cells listen on 127.0.0.1 only. */
  host: string;
  gatewayPort: number;
  crmPort: number;
  /** Absolute. */
  dataDir: string;
  demo: boolean;
  /** Undefined: the embedded PostgreSQL. */
  databaseUrl: string | undefined;
  /** Where the embedded PostgreSQL is tried first; undefined: where it was last, else 15432. */
  databasePort?: number;
  /** How many partitions the CRM has, each on a PostgreSQL of its own; one by default. */
  partitions?: number;
  logLevel: string;
  /** Requests per second that the gateway takes of one token and of one tenant; 0 for no limit. */
  rateLimits: { token: string; tenant: string };
}

/** More than one machine answers: whoever tries the system out or measures it shall find its own limits, not these. */
const localRateLimit = "100000";

/** Reads the settings of `npm start`; port 0 stands for any free one. Throws a sentence that names the variable at fault. */
export function readSettings(env: NodeJS.ProcessEnv): Settings {
  return {
    host: env.HOST || "127.0.0.1",
    gatewayPort: port("PORT", env.PORT, 8080),
    crmPort: port("CRM_PORT", env.CRM_PORT, 8001),
    dataDir: resolve(env.DATA_DIR || ".data"),
    demo: env.DEMO !== "0",
    databaseUrl: env.DATABASE_URL || undefined,
    partitions: partitionsOf(env),
    logLevel: env.LOG_LEVEL || "info",
    rateLimits: { token: env.RATE_LIMIT_TOKEN || localRateLimit, tenant: env.RATE_LIMIT_TENANT || localRateLimit },
  };
}

/** Replaces port 0 by a free one and makes sure that the ports can be listened on. Rejects with a sentence that names port and variable. */
export async function checkPorts(settings: Settings): Promise<void> {
  if (settings.gatewayPort === 0) settings.gatewayPort = await freePort(21_000);
  if (settings.crmPort === 0) settings.crmPort = await freePort(settings.gatewayPort + 1);
  const crmPorts = Array.from({ length: settings.partitions ?? 1 }, (_, index) => settings.crmPort + index);
  if (crmPorts.includes(settings.gatewayPort))
    throw new Error(`PORT and CRM_PORT are both ${settings.gatewayPort}: give them different ports.`);
  await tryListen("PORT", settings.host, settings.gatewayPort);
  for (const crmPort of crmPorts) await tryListen("CRM_PORT", "127.0.0.1", crmPort);
}

function partitionsOf(env: NodeJS.ProcessEnv): number {
  const text = env.CRM_PARTITIONS || "1";
  if (!/^[1-9]$/.test(text)) throw new Error(`CRM_PARTITIONS must be a number from 1 to 9, not "${text}".`);
  if (text !== "1" && env.DATABASE_URL)
    throw new Error("CRM_PARTITIONS: each partition brings a PostgreSQL of its own, so leave DATABASE_URL out.");
  return Number(text);
}

function port(name: string, text: string | undefined, fallback: number): number {
  if (!text) return fallback;
  if (!/^\d{1,5}$/.test(text) || Number(text) > 65_535) throw new Error(`${name} must be a port number from 0 to 65535, not "${text}".`);
  return Number(text);
}

function tryListen(name: string, host: string, number: number): Promise<void> {
  return new Promise((done, reject) => {
    const probe = createServer();
    probe.once("error", (error: NodeJS.ErrnoException) => {
      if (error.code === "EADDRINUSE")
        reject(new Error(`Port ${number} is taken by another program: end it, or set ${name} to a free port.`));
      else if (error.code === "EACCES")
        reject(new Error(`Port ${number} needs rights that this user has not: set ${name} to a port above 1023.`));
      else reject(new Error(`HOST: nothing can listen on "${host}" (${error.message}).`));
    });
    probe.listen(number, host, () => probe.close(() => done()));
  });
}
