import { type ColumnTypes, currencyCodes, recordColumns } from "@cell/cell";
import type { GeneratedAlways } from "kysely";
import { stageTypes } from "../pipelines/schema.ts";
import type { HistoryRow } from "./domain.ts";
import type { Opportunity } from "./schema.ts";

export const opportunityColumns = recordColumns<Opportunity>()({
  opportunityId: { type: "uuid", filter: true, fixed: true },
  customerId: { type: "uuid", filter: true },
  name: { type: "text", filter: true, sort: true, searched: true },
  amount: { type: "number", filter: true, sort: true },
  currency: { type: "text", filter: true, sort: true, values: currencyCodes },
  pipelineId: { type: "uuid", filter: true },
  stage: { type: "text", filter: true, sort: true },
  status: { type: "text", filter: true, sort: true, values: stageTypes },
  probability: { type: "number", filter: true, sort: true },
  probabilityOverridden: { type: "boolean", filter: true },
  expectedCloseDate: { type: "date", filter: true, sort: true, nullable: true },
  ownerId: { type: "text", filter: true, sort: true },
  lostReason: { type: "text", filter: true, nullable: true, searched: true },
  stageEnteredAt: { type: "time", filter: true, sort: true },
  closedAt: { type: "time", filter: true, sort: true, nullable: true },
  createdAt: { type: "time", filter: true, sort: true, fixed: true },
  updatedAt: { type: "time", filter: true, sort: true },
  version: { type: "integer" },
});

export interface OpportunitiesTable extends ColumnTypes<typeof opportunityColumns> {
  /** The number of its last row of history. */
  historySeq: number;
  /** The stages of its pipeline that it has been in: a mask of their numbers. */
  entered: string;
  /** The number of the last of these stages that is not a lost one; null if there is none. */
  lastStage: number | null;
  importId: string | null;
  deletedAt: string | null;
  /** Generated: true or null. Part of the foreign key to the stage, so that it applies to live opportunities only. */
  live: GeneratedAlways<true | null>;
  /** Generated: the text that `keyword` searches, in lower case. */
  search: GeneratedAlways<string>;
}

export const historyColumns = recordColumns<HistoryRow>()({
  opportunityId: { type: "uuid" },
  seq: { type: "integer" },
  moved: { type: "boolean" },
  fromStage: { type: "text" },
  fromPipelineId: { type: "uuid" },
  fromStageType: { type: "text" },
  fromEnteredAt: { type: "time" },
  pipelineId: { type: "uuid" },
  stage: { type: "text" },
  stageType: { type: "text" },
  amount: { type: "number" },
  currency: { type: "text" },
  probability: { type: "number" },
  expectedCloseDate: { type: "date" },
  closedAt: { type: "time" },
  ownerId: { type: "text" },
  customerId: { type: "uuid" },
  deleted: { type: "boolean" },
  at: { type: "time" },
  actorId: { type: "text" },
  requestId: { type: "text" },
});

/** What an opportunity was from `at` on, in all that reports depend on. Rows are only inserted. */
export interface OpportunityHistoryTable extends ColumnTypes<typeof historyColumns> {
  /** Its last arrival in this stage before, if that is an open one; null if there is none. */
  arrivedBeforeAt: string | null;
}
