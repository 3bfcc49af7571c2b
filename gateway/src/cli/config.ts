import { existsSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { type Environment, processEnvironment, readEnv, text, url } from "@cell/http/env";

/** The options of every command. */
export interface CommonOptions {
  gateway?: string;
  key?: string;
  /** Print results as JSON. */
  json?: boolean;
}

/** The target and keys of the command line. */
export interface Settings {
  /** The gateway's address, without a trailing slash. */
  gateway: string;
  /** The key for tenants, keys and cells; undefined if none is known. */
  operatorKey: string | undefined;
  /** The key for a tenant's data; undefined if none is known. */
  tenantKey(tenantId: string): string | undefined;
}

/** What `npm start` saves about the system that it started. */
interface DemoFile {
  gateway: string;
  operator?: { key: string };
  tenants: Record<string, { admin?: { key: string } }>;
}

const root = resolve(import.meta.dirname, "../../..");

/** Every environment variable of `crm`. */
export const cliSettings = {
  gateway: url("CRM_GATEWAY", {
    whenUnset: "the system that npm start has started, else http://127.0.0.1:8080",
    meaning: "Address of the gateway that crm calls.",
  }),
  key: text("CRM_KEY", {
    isSecret: true,
    whenUnset: "that of the system that npm start has started",
    meaning: "Key with which crm calls.",
  }),
  dataDir: text("DATA_DIR", {
    default: join(root, ".data"),
    meaning: "Folder with the demo.json of the system that npm start has started.",
  }),
};

/** Options override the environment, which overrides what `npm start` saved. Throws an Error that names an unreadable value. */
export function readSettings(options: CommonOptions, env: Environment = processEnvironment): Settings {
  const settings = readEnv(cliSettings, env);
  const demo = readDemoFile(join(resolve(settings.dataDir), "demo.json"));
  const gateway = (options.gateway ?? settings.gateway ?? demo?.gateway ?? "http://127.0.0.1:8080").replace(/\/+$/, "");
  if (!URL.canParse(gateway)) throw new Error(`--gateway must be an address such as http://host:port, not "${gateway}"`);
  const given = options.key ?? settings.key;
  // The keys of the locally started system are only for that system.
  const own = demo?.gateway === gateway ? demo : undefined;
  return {
    gateway,
    operatorKey: given ?? own?.operator?.key,
    tenantKey: (tenantId) => given ?? own?.tenants[tenantId]?.admin?.key,
  };
}

function readDemoFile(path: string): DemoFile | undefined {
  if (!existsSync(path)) return undefined;
  try {
    return JSON.parse(readFileSync(path, "utf8")) as DemoFile;
  } catch (error) {
    throw new Error(`${path} cannot be read: ${(error as Error).message}`, { cause: error });
  }
}
