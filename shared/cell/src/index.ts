export type { EndpointExample } from "@cell/http/endpoint/endpoint";
export { dateOrTime } from "@cell/http/openapi/document";
export { type AssembledCell, assembleCell, type CellDefinition, type CellRuntime, type OwnServices } from "./assemble-cell.ts";
export {
  type AuditAction,
  type AuditDraft,
  type AuditOrigin,
  auditActions,
  auditEntry,
  audited,
  auditedValue,
  diff,
  type FieldChange,
} from "./audit/entries.ts";
export { maskedEntry } from "./audit/masked-entry.ts";
export { auditLogRoutes } from "./audit/routes.ts";
export { parsePublicKeys, parseSealKey, type SealKeys, type SealWitness, sealKeysOf } from "./audit/seal.ts";
export { SealLog } from "./audit/seal-log.ts";
export { Sealer } from "./audit/sealer.ts";
export { trailPosition } from "./audit/trail-position.ts";
export { type Break, breakReasons, type Verification, verifyTrail } from "./audit/verify.ts";
export { cachedBuckets } from "./cache/aggregate-buckets.ts";
export type { Buckets } from "./cache/aggregate-store.ts";
export { cachedQuery } from "./cache/query-cache.ts";
export {
  addDays,
  addMonths,
  assertWindow,
  type Day,
  dayAt,
  firstDayFrom,
  type Instant,
  instantOf,
  type Period,
  periodMonths,
  periodName,
  spanOf,
  startOfDay,
  startOfPeriod,
  yearOf,
} from "./calendar.ts";
export {
  type CellConfig,
  type CellSettings,
  cellSettings,
  filesWithin,
  readCellConfig,
  tenantLogins,
} from "./cell-config.ts";
export { cellDocument } from "./cell-document.ts";
export { openRegistry, type RegistryOptions } from "./cell-registry.ts";
export type { Cell, CellServices, CommitUpload, Slice } from "./cell-types.ts";
export { applyPatch } from "./commands/apply-patch.ts";
export { canonicalJson, inStoredOrder } from "./commands/canonical-json.ts";
export type { Outcome } from "./commands/command.ts";
export { type CommandResponse, retentionMs } from "./commands/idempotency.ts";
export { startSweeper } from "./commands/idempotency-sweeper.ts";
export { requireVersion } from "./commands/optimistic-lock.ts";
export { csvLine, plainCell, splitList, unguard } from "./csv/csv.ts";
export { exportRoutes } from "./csv/export-routes.ts";
export { type CsvFile, type FileLimits, fileLimits } from "./csv/file-limits.ts";
export {
  type Endpoint,
  type EventDefinition,
  endpoint,
  idParams,
  type RecordVisibility,
  type RequestContext,
  type RequestContextOf,
} from "./http/endpoint.ts";
export { type Condition, equals, not } from "./lists/conditions.ts";
export { checkKnown, type FieldType, hasForm, type KnownValues, type ListField } from "./lists/field-types.ts";
export { maskedFilter, maskedKeyword } from "./lists/filter-masking.ts";
export { compactPhone, folded, foldedColumn, foldMigration, phoneColumn } from "./lists/fold.ts";
export { keyword, likePattern } from "./lists/keyword.ts";
export { gramsMigration, searchMigration } from "./lists/keyword-migrations.ts";
export { booleanParam, intParam } from "./lists/list-parameters.ts";
export { type ListQuery, listQuery, listResponse } from "./lists/list-query.ts";
export { type ListOptions, listPage, type Revealed, revealDrafts, revealedBy } from "./lists/list-response.ts";
export type { ListDefinition, ListRequest } from "./lists/list-types.ts";
export { ListRunner } from "./lists/lists.ts";
export {
  aggregateStoreMigration,
  cellMigration,
  frameworkMigrations,
  schemaMigrations,
  sharedResponsesMigration,
  webhooksMigration,
} from "./migrations.ts";
export { type ColumnTypes, copyValue, nullFields, recordColumns, recordset } from "./schema/columns.ts";
export { email, id, nameText, nullable, phone, text, uniqueText } from "./schema/fields.ts";
export type { Given } from "./schema/given.ts";
export {
  amountFigure,
  type FieldAccess,
  fieldAccess,
  hiddenFields,
  isMasked,
  isMaskedInput,
  mask,
  readableKinds,
  type SensitiveKind,
  sensitive,
  withoutMasked,
} from "./schema/masking.ts";
export { day, instant, isMoment, moment } from "./schema/moments.ts";
export { currencyCode, currencyCodes, formatMoney, minorUnit, money } from "./schema/money.ts";
export { fileResponse, listOf, type Presenter, type Resource, report, resource, resources, response } from "./schema/resource.ts";
export { type Visibility, visibility } from "./schema/visibility.ts";
export { defineSettings, type SettingsOf } from "./settings/define-settings.ts";
export { settingsRoutes } from "./settings/routes.ts";
export {
  type Conventions,
  conventionsOf,
  findSettings,
  type StoredSettings,
  settingsOf,
} from "./settings/stored.ts";
export { Dispatcher, type DispatcherOptions, sweepDeliveries } from "./webhooks/dispatcher.ts";
export type { EventCatalogue, TrailEntry } from "./webhooks/event-catalogue.ts";
export { type WebhookOptions, webhookRoutes } from "./webhooks/routes.ts";
export { parseWebhookKeys, type WebhookKeys } from "./webhooks/secrets.ts";
export { defineWebhooks } from "./webhooks/webhooks.ts";
export { type Backoff, backoffMs } from "./workers/backoff.ts";
export { HardeningMonitor } from "./workers/hardening-monitor.ts";
export { type Background, repeat } from "./workers/repeat.ts";
export { singleFlight } from "./workers/single-flight.ts";
export { type RunContext, TenantWorker, type TenantWorkerOptions } from "./workers/tenant-worker.ts";
