import { createServer } from "node:net";
import { resolve } from "node:path";
import { type Environment, integer, processEnvironment, readEnv, text, toggle, url } from "@cell/http/env";
import { logLevel } from "@cell/http/server-settings";
import { freePort } from "@cell/postgres/embedded/postmaster";

export interface Settings {
  /** Address of the gateway; the cells listen on 127.0.0.1 only. */
  host: string;
  gatewayPort: number;
  crmPort: number;
  /** Absolute. */
  dataDir: string;
  demo: boolean;
  /** Undefined: the embedded PostgreSQL. */
  databaseUrl: string | undefined;
  /** First port to try for the embedded PostgreSQL; undefined: the last one used, else 15432. */
  databasePort?: number;
  /** Number of CRM partitions, each with its own PostgreSQL; default: one. */
  partitions?: number;
  logLevel: string;
  /** Requests per second of one token and of one tenant; 0: no limit. */
  rateLimits: { token: string; tenant: string };
}

/** For either rate limit: on a single machine, tests and measurements should meet the machine's limits and not these. */
const localRateLimit = 100_000;

/** Every environment variable of `npm start`; the started programs read their own besides. */
export const startSettings = {
  host: text("HOST", { default: "127.0.0.1", meaning: "Address on which the gateway listens; the cells listen on 127.0.0.1 only." }),
  gatewayPort: integer("PORT", { default: 8080, max: 65_535, meaning: "Port of the gateway; 0 takes any free one." }),
  crmPort: integer("CRM_PORT", { default: 8001, max: 65_535, meaning: "Port of the CRM cell; 0 takes any free one." }),
  dataDir: text("DATA_DIR", { default: ".data", meaning: "Folder for data, logs, secrets and demo.json." }),
  demo: toggle("DEMO", { default: "1", meaning: "0 starts without the demo tenants." }),
  databaseUrl: url("DATABASE_URL", {
    isSecret: true,
    parse: String,
    whenUnset: "the embedded PostgreSQL 18",
    meaning:
      "PostgreSQL 16, 17 or 18, as a superuser, who runs deploy/postgres/bootstrap.sql and nothing else, or as the owner of the database who may create roles.",
  }),
  partitions: integer("CRM_PARTITIONS", {
    default: 1,
    min: 1,
    max: 9,
    unit: "partitions",
    meaning: "Partitions of the CRM, each a cell process with its own PostgreSQL, on CRM_PORT and the ports after it.",
  }),
  logLevel,
  rateLimitToken: integer("RATE_LIMIT_TOKEN", {
    default: localRateLimit,
    unit: "requests/s",
    meaning: "Requests per token, with bursts of twice as many; 0: no limit.",
  }),
  rateLimitTenant: integer("RATE_LIMIT_TENANT", {
    default: localRateLimit,
    unit: "requests/s",
    meaning: "Requests per tenant, with bursts of twice as many; 0: no limit.",
  }),
};

/** Reads the settings of `npm start`; port 0 is any free one. Throws a StartRefused that names every invalid variable. */
export function readSettings(env: Environment = processEnvironment): Settings {
  const { rateLimitToken, rateLimitTenant, ...values } = readEnv(startSettings, env, {
    check({ partitions = 1, databaseUrl }, report) {
      if (partitions > 1 && databaseUrl !== undefined)
        report("CRM_PARTITIONS", "must be 1 with DATABASE_URL: each partition brings a PostgreSQL of its own");
    },
  });
  return { ...values, dataDir: resolve(values.dataDir), rateLimits: { token: String(rateLimitToken), tenant: String(rateLimitTenant) } };
}

/** Replaces port 0 by a free one and checks that the ports are available. Rejects with a sentence that names port and variable. */
export async function checkPorts(settings: Settings): Promise<void> {
  if (settings.gatewayPort === 0) settings.gatewayPort = await freePort(21_000);
  if (settings.crmPort === 0) settings.crmPort = await freePort(settings.gatewayPort + 1);
  const crmPorts = Array.from({ length: settings.partitions ?? 1 }, (_, index) => settings.crmPort + index);
  if (crmPorts.includes(settings.gatewayPort))
    throw new Error(`PORT and CRM_PORT are both ${settings.gatewayPort}: give them different ports.`);
  await tryListen("PORT", settings.host, settings.gatewayPort);
  for (const crmPort of crmPorts) await tryListen("CRM_PORT", "127.0.0.1", crmPort);
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
