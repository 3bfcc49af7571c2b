import { generateKeyPairSync } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { createLogger, type Environment, type Logger } from "@cell/http";
import { migrateSchema, type Registry, type TenantLogins } from "@cell/postgres";
import { inject } from "vitest";
import { assembleCell, type CellDefinition } from "../assemble-cell.ts";
import type { SealKeys } from "../audit/seal.ts";
import type { Sealer, SealerOptions } from "../audit/sealer.ts";
import { type CellSettings, readCellConfig } from "../cell-config.ts";
import type { CellServices } from "../cell-types.ts";
import type { FileLimits } from "../csv/file-limits.ts";
import { testLogins } from "./config.ts";
import { isFinished } from "./stored.ts";
import { serveTestCell, type TestCell, testAssertionKeysText, testMetricsToken } from "./test-cell.ts";

const sealPair = generateKeyPairSync("ed25519");
/** In PEM, of the key that seals in this test file. */
export const sealPublicKey = sealPair.publicKey.export({ type: "spki", format: "pem" }).toString();

/** What the tenants' database passwords follow from in tests. */
export const testLoginSecret = "a secret for the tests alone, of some length";

/** Those of this test file: others have tenants on the same server, and keys of their own. */
const tenantIds = new Set<string>();

export interface StartedTestCell<Services> extends TestCell {
  services: Services & CellServices;
  /** Not started: a test seals when it wants to. */
  sealer: Sealer;
  /** Seals all that a tenant has written. */
  sealAll(tenantId: string): Promise<void>;
}

export interface TestCellOptions {
  /** Of the cell's own settings, those that it does not start without, and what a test sets. */
  env?: Environment;
  /** The file to which seals are handed. */
  sealLog?: string;
  /** By default those of the test file. */
  sealKeys?: SealKeys;
  /** By default those of the test run. */
  logins?: TenantLogins;
  /** Another server than the test run's. */
  databaseUrl?: string;
  /** Whether the database does not answer: nothing is migrated then. */
  isAway?: boolean;
  /** Database connections of one tenant. */
  perTenant?: number;
  /** What differs from the limits of files that follow from the connections. */
  files?: Partial<FileLimits>;
  statementTimeoutMs?: number;
  lockTimeoutMs?: number;
  /** How long a report may take. */
  longResponseMs?: number;
}

/** A cell on a free port, by default on the test run's PostgreSQL, with its schema migrated and no work in the background. */
export async function startTestCell<S extends CellSettings, Services extends object>(
  definition: CellDefinition<S, Services>,
  options: TestCellOptions = {},
): Promise<StartedTestCell<Services>> {
  const { databaseUrl = inject("databaseUrl"), isAway = false, lockTimeoutMs, longResponseMs } = options;
  const { name: schema, schemaMigrations } = definition;
  if (!isAway) await migrateSchema({ url: databaseUrl, schema, migrations: [...schemaMigrations] });
  const log: Logger = createLogger(schema, isAway ? "silent" : "error");
  const read = readCellConfig(definition.settings, { ...environmentOf(databaseUrl, options), ...options.env });
  const config = { ...read, sealKeys: options.sealKeys ?? read.sealKeys, files: { ...read.files, ...options.files } };
  const cell = assembleCell(definition, config, { log, draining: () => false, sealedTenants: ownTenants, lockTimeoutMs, longResponseMs });
  if (!isAway) await cell.hardening.inspect();
  const served = await serveTestCell(schema, cell);
  return {
    ...served,
    services: cell.services,
    sealer: cell.sealer,
    async sealAll(tenantId) {
      // Transactions of other tests on the same server would hold some of it up.
      while (!(await isFinished(tenantId))) await sleep(10);
      await cell.sealer.seal(tenantId);
    },
    async tenant() {
      const tenantId = await served.tenant();
      tenantIds.add(tenantId);
      return tenantId;
    },
  };
}

function environmentOf(databaseUrl: string, options: TestCellOptions): Environment {
  return {
    DATABASE_URL: databaseUrl,
    ASSERTION_KEYS: testAssertionKeysText,
    METRICS_TOKEN: testMetricsToken,
    TENANT_LOGIN_SECRET: testLoginSecret,
    TENANT_LOGINS: options.logins ?? testLogins(),
    SEAL_KEY: sealPair.privateKey.export({ type: "pkcs8", format: "pem" }).toString(),
    SEAL_LOG: options.sealLog,
    DATABASE_CONNECTIONS: "40",
    TENANT_CONNECTIONS: String(options.perTenant ?? 12),
    STATEMENT_TIMEOUT_MS: String(options.statementTimeoutMs ?? 10_000),
  };
}

function ownTenants(registry: Registry): SealerOptions["registry"] {
  return {
    owner: registry.owner,
    version: registry.version,
    list: async () => (await registry.list()).filter(({ tenantId }) => tenantIds.has(tenantId)),
    mayWrite: (client, tenantId) => registry.mayWrite(client, tenantId),
    refresh: (tenantId) => registry.refresh(tenantId),
    tenant: (tenantId) => registry.tenant(tenantId),
    tenantsWhere: async (...given) => (await registry.tenantsWhere(...given)).filter((tenantId) => tenantIds.has(tenantId)),
  };
}
