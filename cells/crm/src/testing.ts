import { serveTestCell, type TestCell, testAssertionKeys } from "@cell/cell/testing";
import { createLogger } from "@cell/http";
import { migrateSchema } from "@cell/postgres";
import { inject } from "vitest";
import { createCrm, createRegistry } from "./app.ts";
import { cellMigrations } from "./migrations/registry.ts";

/** The CRM cell on the test run's PostgreSQL. */
export async function startCrm(): Promise<TestCell> {
  const databaseUrl = inject("databaseUrl");
  await migrateSchema({ url: databaseUrl, schema: "crm", migrations: cellMigrations });
  const registry = createRegistry({ databaseUrl, loginSecret: "a secret for the tests alone, of some length", total: 40, perLogin: 12, statementTimeoutMs: 10_000 });
  const cell = createCrm({
    registry,
    assertionKeys: testAssertionKeys,
    log: createLogger("crm", process.env.TEST_LOG_LEVEL ?? "error"),
    draining: () => false,
    committed: () => undefined,
  });
  return serveTestCell("crm", cell, registry);
}
