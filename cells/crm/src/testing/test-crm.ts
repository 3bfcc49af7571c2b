import { generateKeyPairSync } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import {
  Dispatcher,
  type DispatcherOptions,
  type FileLimits,
  fileLimits,
  filesWithin,
  HardeningMonitor,
  parseWebhookKeys,
  Sealer,
  type SealKeys,
  SealLog,
  sealKeysOf,
} from "@cell/cell";
import { testLogins } from "@cell/cell/testing/config";
import { serveTestCell, type TestCell, testAssertionKeys, testMetricsToken } from "@cell/cell/testing/test-cell";
import { createLogger, Outbound, parseNetworks } from "@cell/http";
import { migrateSchema, schemaOf, type TenantLogins } from "@cell/postgres";
import pg from "pg";
import { inject } from "vitest";
import { createCrm, importers } from "../app.ts";
import { readConversationsAt } from "../customer-360/messaging.ts";
import { ImportRunner } from "../imports/runner.ts";
import { cellMigrations } from "../migrations/registry.ts";
import { createRegistry } from "../registry.ts";
import { webhooks } from "../webhooks/event-catalogue.ts";

const sealPair = generateKeyPairSync("ed25519");
const sealKeys = sealKeysOf(sealPair.privateKey, []);
/** The public key in PEM of this test file's seals. */
export const sealPublicKey = sealPair.publicKey.export({ type: "spki", format: "pem" }).toString();

/** The keys of webhook secrets in tests. */
export const testWebhookKeys = parseWebhookKeys(`test:${Buffer.alloc(32, 5).toString("base64url")}`);

/** The secret of the tenants' database passwords in tests. */
export const testLoginSecret = "a secret for the tests alone, of some length";

const tenantIds = new Set<string>();

export interface TestCrm extends TestCell {
  /** Not started: tests seal explicitly. */
  sealer: Sealer;
  /** Seals everything that a tenant has written. */
  sealAll(tenantId: string): Promise<void>;
  /** Sends webhooks, to 127.0.0.1 too. */
  dispatcher: Dispatcher;
  /** Another dispatcher, as in a second process. */
  newDispatcher(options?: Partial<DispatcherOptions>): Dispatcher;
}

export interface TestCrmOptions {
  /** The file for seals. */
  sealLog?: string;
  /** Default: those of the test file. */
  sealKeys?: SealKeys;
  messagingUrl?: string;
  webhooks?: Partial<DispatcherOptions>;
  /** Default: those of the test run. */
  logins?: TenantLogins;
  /** A server other than the test run's. */
  databaseUrl?: string;
  /** Database connections per tenant. */
  perTenant?: number;
  /** Overrides of the file limits. */
  files?: Partial<FileLimits>;
  statementTimeoutMs?: number;
  lockTimeoutMs?: number;
  /** Time limit of reports. */
  longResponseMs?: number;
}

/** The CRM cell, by default on the test run's PostgreSQL. */
export async function startCrm(options: TestCrmOptions = {}): Promise<TestCrm> {
  const { databaseUrl = inject("databaseUrl") } = options;
  await migrateSchema({ url: databaseUrl, schema: "crm", migrations: cellMigrations });
  const connections = { total: 40, perTenant: options.perTenant ?? 12 };
  const registry = createRegistry({
    databaseUrl,
    loginSecret: testLoginSecret,
    ...connections,
    logins: options.logins ?? testLogins(),
    statementTimeoutMs: options.statementTimeoutMs ?? 10_000,
    lockTimeoutMs: options.lockTimeoutMs,
  });
  const log = createLogger("crm", "error");
  const keys = options.sealKeys ?? sealKeys;
  const sealLog = new SealLog(keys.publicKeys, options.sealLog, log);
  // Other test files have tenants on the same server, with other keys.
  const list = async () => (await registry.list()).filter(({ tenantId }) => tenantIds.has(tenantId));
  const sealer = new Sealer({
    registry: {
      owner: registry.owner,
      list,
      mayWrite: (client, tenantId) => registry.mayWrite(client, tenantId),
      refresh: (tenantId) => registry.refresh(tenantId),
      tenant: (tenantId) => registry.tenant(tenantId),
      version: registry.version,
      tenantsWhere: async (...given) => (await registry.tenantsWhere(...given)).filter((tenantId) => tenantIds.has(tenantId)),
    },
    keys,
    sealLog,
    log,
  });
  const hardening = new HardeningMonitor(registry, log);
  await hardening.inspect();
  const outbound = new Outbound({ allow: parseNetworks("127.0.0.0/8") });
  const newDispatcher = (given: Partial<DispatcherOptions> = {}) =>
    new Dispatcher({
      webhooks,
      registry,
      outbound,
      keys: testWebhookKeys,
      retentionDays: 30,
      log,
      committed: sealer.wake,
      ...options.webhooks,
      ...given,
    });
  const dispatcher = newDispatcher();
  const committed = (given: string) => {
    sealer.wake(given);
    dispatcher.wake(given);
  };
  const importRunner = new ImportRunner({ registry, importers, log, requests: () => cell.metrics.begun, committed });
  const cell = createCrm({
    registry,
    assertionKeys: testAssertionKeys,
    metricsToken: testMetricsToken,
    log,
    draining: () => false,
    sealingProblems: () => sealer.problems(),
    ...(options.longResponseMs === undefined ? {} : { longResponseMs: options.longResponseMs }),
    files: { ...fileLimits, ...filesWithin(connections), ...options.files },
    openDoors: () => hardening.count,
    committed,
    sealWitness: sealLog,
    adoptTrail: (tenantId) => sealer.adopt(tenantId),
    endTrail: (tenantId) => sealer.end(tenantId),
    readConversations: readConversationsAt(options.messagingUrl, testAssertionKeys),
    wakeImports: (given) => importRunner.wake(given),
    webhooks: { outbound, keys: testWebhookKeys, changed: dispatcher.changed },
  });
  dispatcher.register(cell.metrics.registry);
  sealer.register(cell.metrics.registry);
  hardening.register(cell.metrics.registry);
  const sealAll = async (tenantId: string) => {
    // Transactions of other tests on the same server would delay some of it.
    while (!(await isFinished(tenantId))) await sleep(10);
    await sealer.seal(tenantId);
  };
  const served = await serveTestCell("crm", cell, registry);
  const tenant = async () => {
    const tenantId = await served.tenant();
    tenantIds.add(tenantId);
    return tenantId;
  };
  const stop = async () => {
    await dispatcher.stop();
    outbound.close();
    await served.stop();
  };
  return { ...served, tenant, sealer, sealAll, dispatcher, newDispatcher, stop };
}

/** Whether every transaction has ended that began before a tenant's last entry was written. */
export async function isFinished(tenantId: string): Promise<boolean> {
  const running = "select from $tenant.audit_logs where transaction_id >= pg_snapshot_xmin(pg_current_snapshot())::text::bigint limit 1";
  return (await inspect(tenantId, running)).length === 0;
}

/** Queries a tenant's tables as a superuser. `$tenant` stands for the schema. */
export async function inspect<Row extends object>(tenantId: string, sql: string, values: unknown[] = []): Promise<Row[]> {
  const client = new pg.Client({ connectionString: inject("superuserUrl") });
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

/** Number of staged and failed rows: a whole batch with its failures, or none of it. */
export async function stagedRows(tenantId: string): Promise<number> {
  const [row] = await inspect<{ staged: number; failed: number; kept: number }>(
    tenantId,
    `select (select coalesce(sum(last_row - first_row + 1), 0)::int from $tenant.import_batches) as staged,
       (select coalesce(sum(failed), 0)::int from $tenant.import_batches) as failed,
       (select count(*)::int from $tenant.import_failures where by_itself) as kept`,
  );
  if (row?.failed !== row?.kept) throw new Error(`${row?.failed} rows failed, ${row?.kept} are kept`);
  return row?.staged ?? 0;
}

/** Number of stored responses. */
export async function storedResponses(tenantId: string): Promise<number> {
  return (await inspect<{ kept: number }>(tenantId, "select count(*)::int as kept from $tenant.idempotency_keys"))[0]?.kept ?? 0;
}

/** The totals of a list response by currency. */
export function byCurrency({ totals }: { totals: { byCurrency: { currency: string }[] } }) {
  return Object.fromEntries(totals.byCurrency.map(({ currency, ...total }) => [currency, total as Record<string, unknown>]));
}
