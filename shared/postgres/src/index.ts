export { type ControlOptions, inTransaction, migrateSchema, openKysely, openPool, type SchemaMigration } from "./control.ts";
export { arrayText } from "./driver/copy.ts";
export type { RawRow } from "./driver/message-reader.ts";
export { isoTime } from "./driver/parsing.ts";
export { type RowDescription, Rows } from "./driver/rows.ts";
export { hardeningMigration, unrevokedFunctions } from "./hardening.ts";
export { columnOf, field, fieldsOf, recordsOf } from "./json-recordset.ts";
export type { TenantLogins } from "./logins.ts";
export { type Login, withLogin } from "./pool/connection.ts";
export { KeyedSemaphore } from "./pool/semaphore.ts";
export { type ConnectionOptions, TenantPool } from "./pool/tenant-pool.ts";
export { databaseProblem, failedExpectation, isConnectionLoss, isDenied, isRetryable, violatedConstraint } from "./problems.ts";
export {
  type MigrationQuery,
  type MigrationReport,
  placementMigration,
  Registry,
  registryMigrations,
  type TenantMigration,
  type TenantRow,
} from "./registry.ts";
export type { NewRows, TenantDb, TenantTx, WriteResult, WriteSession } from "./session.ts";
export {
  nextVersion,
  type Parameters,
  type Statement,
  StatementCache,
  selectionOf,
  statement,
  tenantTables,
  valuesOf,
} from "./statement.ts";
export { assertCurrent, assertServed, schemaOf, Tenant, type TenantState, tenantLogin } from "./tenants.ts";
export { type Digest, differingTables } from "./transfer/digest.ts";
export { type TransferEnd, type TransferHead, transferFormat } from "./transfer/export.ts";
export { Placement } from "./transfer/placement.ts";
export { readTransfer, type TransferPiece } from "./transfer/read.ts";
export { type BringMode, loadModes } from "./transfer/rows.ts";
export type { SequenceState } from "./transfer/tables.ts";
export { requireServedVersion, UnusableDatabase } from "./versions.ts";
export type { AuditEntry, Change, Claim, StoredResponse } from "./write.ts";
