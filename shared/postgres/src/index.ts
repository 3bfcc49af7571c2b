export { type ConnectionOptions, Connections, type Login, withLogin } from "./connections.ts";
export { type ControlOptions, migrateSchema, openKysely, openPool, type SchemaMigration } from "./control.ts";
export { copiedText } from "./copy.ts";
export { isoTime } from "./parsing.ts";
export { databaseProblem, failedExpectation, isConnectionLoss, isRetryable, violatedConstraint } from "./problems.ts";
export { type MigrationReport, Registry, registryMigrations, type TenantMigration, type TenantRow } from "./registry.ts";
export { type Parameters, type Statement, StatementCache, selectionOf, statement, tenantTables, valuesOf } from "./statement.ts";
export { assertCurrent, schemaOf, Tenant, type TenantDb, type TenantTx, type WriteResult, type WriteSession } from "./tenants.ts";
export type { AuditEntry, Change, Claim, KeptAnswer } from "./write.ts";
