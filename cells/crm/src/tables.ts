import { tenantTables } from "@cell/postgres";
import type { ContactsTable } from "./contacts/table.ts";
import type { ContractsTable } from "./contracts/table.ts";
import type { CustomersTable } from "./customers/table.ts";
import type { ImportBatchesTable, ImportFailuresTable, ImportsTable } from "./imports/table.ts";
import type { LookupsTable } from "./lookups/table.ts";
import type { OpportunitiesTable, OpportunityHistoryTable } from "./opportunities/table.ts";
import type { PaymentsTable } from "./payments/table.ts";
import type { PipelineStagesTable, PipelinesTable } from "./pipelines/table.ts";

/** The columns of the tenants' tables, by their API names (in SQL: snake_case). */
export interface Tables {
  customers: CustomersTable;
  contacts: ContactsTable;
  pipelines: PipelinesTable;
  pipelineStages: PipelineStagesTable;
  opportunities: OpportunitiesTable;
  opportunityHistory: OpportunityHistoryTable;
  contracts: ContractsTable;
  payments: PaymentsTable;
  imports: ImportsTable;
  importBatches: ImportBatchesTable;
  importFailures: ImportFailuresTable;
  lookups: LookupsTable;
}

/** The builder of this cell's statements. */
export const db = tenantTables<Tables>();
