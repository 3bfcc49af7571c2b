import { mkdirSync } from "node:fs";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { type Environment, integer, processEnvironment, readEnv, text } from "@cell/http/env";

/** Data sizes of the workloads. */
export interface Sizes {
  /** Customers of the tenant for single reads and pages. */
  customers: number;
  /** Customers, and as many opportunities, of the tenant for search, exports and reports. */
  many: number;
  /** Customers of the tenants for writes. */
  written: number;
  importRows: number;
  /** Tenants used in turn. */
  tenants: number;
  /** Tenants used in turn with a login each. */
  tenantsWithLogin: number;
  /** Tenants that are provisioned and migrated. */
  migrated: number;
}

/** Ports on 127.0.0.1. */
export interface Ports {
  gateway: number;
  crm: number;
  echo: number;
  nginx: number;
  bareCell: number;
  bareGateway: number;
  postgres: number;
  /** For systems that are started to be timed, and for peers. */
  spare: number;
}

export interface Config {
  /** Folder of data, results and peers; kept between runs. */
  dir: string;
  /** The data directory of this run's system. */
  dataDir: string;
  resultDir: string;
  /** Ids such as W4; empty for all. `peers` compares with other products. */
  workloads: string[];
  rounds: number;
  seconds: number;
  /** Concurrent requests. */
  connections: number;
  smoke: boolean;
  /** Writes CPU profiles of gateway and cell into `<dir>/profiles`. */
  profile: boolean;
  sizes: Sizes;
  ports: Ports;
}

const fullSizes: Sizes = {
  customers: 100_000,
  many: 1_000_000,
  written: 20_000,
  importRows: 100_000,
  tenants: 1_000,
  tenantsWithLogin: 100,
  migrated: 1_000,
};
const smokeSizes: Sizes = {
  customers: 2_000,
  many: 2_000,
  written: 500,
  importRows: 6_000,
  tenants: 6,
  tenantsWithLogin: 3,
  migrated: 3,
};

/** Every environment variable of `npm run bench`. */
export const benchSettings = {
  dir: text("BENCH_DIR", { default: ".bench", meaning: "Folder for the benchmark's data, results and peers." }),
  firstPort: integer("BENCH_PORT", { default: 18_500, min: 1, max: 65_000, meaning: "First of the 50 ports that the benchmark uses." }),
  rows: integer("BENCH_ROWS", { default: fullSizes.many, min: 1, max: 100_000_000, unit: "rows", meaning: "Rows of the large tenant." }),
};

/**
 * Parses `[W1 W2 … | peers] [--rounds 5] [--seconds 4] [--smoke] [--profile]` and the environment. Throws a sentence about invalid input.
 */
export function readConfig(args: readonly string[], env: Environment = processEnvironment): Config {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: {
      rounds: { type: "string" },
      seconds: { type: "string" },
      smoke: { type: "boolean", default: false },
      profile: { type: "boolean", default: false },
    },
  });
  const { smoke, profile } = values;
  const { firstPort, rows, dir: givenDir } = readEnv(benchSettings, env);
  const dir = resolve(givenDir);
  const dataDir = join(dir, smoke ? "smoke" : "data");
  const resultDir = join(dir, "results");
  for (const folder of [dataDir, resultDir]) mkdirSync(folder, { recursive: true });
  const sizes = smoke ? smokeSizes : { ...fullSizes, many: rows };
  return {
    dir,
    dataDir,
    resultDir,
    workloads: positionals.map((id) => (id === "peers" ? id : id.toUpperCase())),
    rounds: number("--rounds", values.rounds, smoke ? 1 : 5, 100),
    seconds: number("--seconds", values.seconds, smoke ? 1 : 4, 600),
    connections: smoke ? 8 : 32,
    smoke,
    profile,
    sizes,
    ports: {
      gateway: firstPort,
      crm: firstPort + 1,
      echo: firstPort + 2,
      nginx: firstPort + 3,
      bareCell: firstPort + 4,
      bareGateway: firstPort + 5,
      postgres: firstPort + 10,
      spare: firstPort + 20,
    },
  };
}

function number(name: string, text: string | undefined, fallback: number, max: number): number {
  if (!text) return fallback;
  if (!/^\d+$/.test(text) || Number(text) < 1 || Number(text) > max)
    throw new Error(`${name} must be a whole number from 1 to ${max}, not "${text}"`);
  return Number(text);
}
