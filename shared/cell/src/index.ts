export { dateOrTime } from "@cell/http/openapi/document";
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
} from "./audit.ts";
export { type Background, repeat } from "./background.ts";
export { canonicalJson, inStoredOrder } from "./body.ts";
export { addDays, type Day, dayAt, type Instant, spanOf, startOfDay } from "./calendar.ts";
export { type Cell, type CellOptions, type CommitUpload, createCell, type RunningCell } from "./cell.ts";
export { applyPatch } from "./changed.ts";
export type { Outcome } from "./command.ts";
export { type Condition, equals, not } from "./conditions.ts";
export {
  type Endpoint,
  type EndpointExample,
  type EventDefinition,
  endpoint,
  idParams,
  type RecordVisibility,
  type RequestContext,
  type RequestContextOf,
} from "./endpoint.ts";
export { email, fieldProblems, id, nameText, nullable, phone, text, uniqueText } from "./fields.ts";
export { type CsvFile, type FileLimits, fileLimits } from "./files.ts";
export { maskedFilter, maskedKeyword } from "./filter-masking.ts";
export { compactPhone, folded, foldedColumn, foldMigration, phoneColumn } from "./fold.ts";
export { type CommandResponse, retentionMs } from "./kept-answers.ts";
export { checkKnown, type FieldType, hasForm, type KnownValues, type ListField } from "./list-fields.ts";
export { booleanParam, intParam } from "./list-parameters.ts";
export {
  type ListDefinition,
  type ListQuery,
  type ListRequest,
  ListRunner,
  likePattern,
  listQuery,
  listResponse,
} from "./listing.ts";
export {
  amountFigure,
  type FieldAccess,
  fieldAccess,
  isMasked,
  isMaskedInput,
  mask,
  readableKinds,
  type SensitiveKind,
  sensitive,
  withoutMasked,
} from "./masking.ts";
export { aggregateStoreMigration, cellMigration, sharedAnswersMigration } from "./migrations.ts";
export { currencyCode, currencyCodes, formatMoney, minorUnit, money } from "./money.ts";
export { HardeningMonitor } from "./open-doors.ts";
export { cachedQuery } from "./remembered.ts";
export { type Buckets, cachedBuckets } from "./remembered-parts.ts";
export { fileResponse, listOf, type Presenter, type Resource, report, resource, resources, response } from "./resource.ts";
export { type ListOptions, listPage, type Revealed, revealDrafts, revealedBy } from "./reveal.ts";
export { parsePublicKeys, parseSealKeys, type SealKeys, type SealWitness } from "./seal.ts";
export { SealLog } from "./seal-log.ts";
export { Sealer } from "./sealer.ts";
export { type Conventions, conventionsOf, defaultConventions, type StoredSettings, settingsChanged, settingsOf } from "./settings.ts";
export { singleFlight } from "./single-flight.ts";
export { startSweeper } from "./sweeper.ts";
export { type Break, breakReasons, type Verification, verifyTrail } from "./verify.ts";
export { requireVersion } from "./version.ts";
