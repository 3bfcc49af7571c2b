import { generateKeyPairSync } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { parseSealKeys, Sealer, SealLog } from "@cell/cell";
import { serveTestCell, type TestCell, testAssertionKeys } from "@cell/cell/testing";
import { createLogger } from "@cell/http";
import { migrateSchema, schemaOf } from "@cell/postgres";
import pg from "pg";
import { inject } from "vitest";
import { createCrm, createRegistry, importers } from "./app.ts";
import { readConversationsAt } from "./customer-360/messaging.ts";
import { ImportRunner } from "./imports/runner.ts";
import { cellMigrations } from "./migrations/registry.ts";

const sealPair = generateKeyPairSync("ed25519", {
  publicKeyEncoding: { type: "spki", format: "pem" },
  privateKeyEncoding: { type: "pkcs8", format: "pem" },
});
const sealKeys = parseSealKeys(sealPair.privateKey, []);
/** In PEM, of the key that seals in this test file. */
export const sealPublicKey = sealPair.publicKey;

const tenantIds = new Set<string>();

export interface TestCrm extends TestCell {
  /** Not started: a test seals when it wants to. */
  sealer: Sealer;
  /** Seals all that a tenant has written. */
  sealAll(tenantId: string): Promise<void>;
}

/** The CRM cell on the test run's PostgreSQL. `sealLog`: the file to which seals are handed. */
export async function startCrm(options: { sealLog?: string; messagingUrl?: string } = {}): Promise<TestCrm> {
  const databaseUrl = inject("databaseUrl");
  await migrateSchema({ url: databaseUrl, schema: "crm", migrations: cellMigrations });
  const registry = createRegistry({
    databaseUrl,
    loginSecret: "a secret for the tests alone, of some length",
    total: 40,
    perLogin: 12,
    statementTimeoutMs: 10_000,
  });
  const log = createLogger("crm", "error");
  const sealLog = new SealLog(sealKeys.publicKeys, options.sealLog, log);
  // Other test files have tenants on the same server, and keys of their own.
  const list = async () => (await registry.list()).filter(({ tenantId }) => tenantIds.has(tenantId));
  const sealer = new Sealer({ registry: { owner: registry.owner, list }, keys: sealKeys, sealLog, log });
  const importRunner = new ImportRunner({ registry, importers, log, committed: sealer.wake });
  const cell = createCrm({
    registry,
    assertionKeys: testAssertionKeys,
    log,
    draining: () => false,
    committed: sealer.wake,
    sealWitness: sealLog,
    readConversations: readConversationsAt(options.messagingUrl, testAssertionKeys),
    wakeImports: (given) => importRunner.wake(given),
  });
  sealer.register(cell.metrics.registry);
  const sealAll = async (tenantId: string) => {
    // Transactions of other tests on the same server would hold some of it up.
    while (!(await isFinished(tenantId))) await sleep(10);
    await sealer.seal(tenantId);
  };
  const served = await serveTestCell("crm", cell, registry);
  const tenant = async () => {
    const tenantId = await served.tenant();
    tenantIds.add(tenantId);
    return tenantId;
  };
  return { ...served, tenant, sealer, sealAll };
}

/** Whether no transaction runs that began before a tenant's last entry was written. */
export async function isFinished(tenantId: string): Promise<boolean> {
  const running = "select from $tenant.audit_logs where transaction_id >= pg_snapshot_xmin(pg_current_snapshot())::text::bigint limit 1";
  return (await inspect(tenantId, running)).length === 0;
}

/** A look into a tenant's tables as the database's owner. `$tenant` stands for the schema. */
export async function inspect<Row extends object>(tenantId: string, sql: string, values: unknown[] = []): Promise<Row[]> {
  const client = new pg.Client({ connectionString: inject("databaseUrl") });
  await client.connect();
  try {
    const { rows } = await client.query<Row>(sql.replaceAll("$tenant", `"${schemaOf(tenantId)}"`), values);
    return rows;
  } finally {
    await client.end();
  }
}

export interface StoredEntry {
  action: string;
  changes: unknown;
  resource_version: number | null;
  request_id: string;
}

/** The audit entries of a record, oldest first. */
export function auditOf(tenantId: string, resourceId: string): Promise<StoredEntry[]> {
  return inspect(tenantId, "select * from $tenant.audit_logs where resource_id = $1 order by seq", [resourceId]);
}

/** How many answers are kept. */
export async function keptAnswers(tenantId: string): Promise<number> {
  return (await inspect<{ kept: number }>(tenantId, "select count(*)::int as kept from $tenant.idempotency_keys"))[0]?.kept ?? 0;
}

/** The totals of a list's answer by their currency. */
export function byCurrency({ totals }: { totals: { byCurrency: { currency: string }[] } }) {
  return Object.fromEntries(totals.byCurrency.map(({ currency, ...total }) => [currency, total as Record<string, unknown>]));
}
