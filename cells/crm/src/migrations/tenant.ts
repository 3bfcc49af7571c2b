import { aggregateStoreMigration, cellMigration, sharedResponsesMigration, webhooksMigration } from "@cell/cell";
import type { TenantMigration } from "@cell/postgres";
import { customersMigration } from "./0002_customers.ts";
import { importsMigration } from "./0003_imports.ts";
import { contactsMigration } from "./0004_contacts.ts";
import { pipelinesMigration } from "./0005_pipelines.ts";
import { opportunitiesMigration } from "./0006_opportunities.ts";
import { contractsPaymentsMigration } from "./0007_contracts_payments.ts";
import { reportsMigration } from "./0009_reports.ts";
import { importBatchesMigration } from "./0011_imports.ts";
import { cohortDaysMigration } from "./0012_cohort_days.ts";
import { stageDurationsMigration } from "./0013_stays.ts";
import { gramsMigration } from "./0014_grams.ts";
import { owedAndVoidsMigration } from "./0016_owed_and_voids.ts";
import { textFormsMigration } from "./0017_text_forms.ts";
import { failedRowsMigration } from "./0018_failed_rows.ts";
import { foldedSearchMigration } from "./0019_folded_search.ts";

/** The migrations of a tenant's schema, append-only. */
export const tenantMigrations: readonly TenantMigration[] = [
  cellMigration,
  customersMigration,
  importsMigration,
  contactsMigration,
  pipelinesMigration,
  opportunitiesMigration,
  contractsPaymentsMigration,
  webhooksMigration,
  reportsMigration,
  importBatchesMigration,
  cohortDaysMigration,
  stageDurationsMigration,
  gramsMigration,
  aggregateStoreMigration,
  owedAndVoidsMigration,
  textFormsMigration,
  failedRowsMigration,
  foldedSearchMigration,
  sharedResponsesMigration,
];
