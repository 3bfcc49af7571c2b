import { type ColumnTypes, currencyCodes, recordColumns } from "@cell/cell";
import type { GeneratedAlways } from "kysely";
import { type Contract, contractStatuses } from "./schema.ts";

export const contractColumns = recordColumns<Contract>()({
  contractId: { type: "uuid", filter: true, fixed: true },
  customerId: { type: "uuid", filter: true, fixed: true },
  opportunityId: { type: "uuid", filter: true },
  number: { type: "text", filter: true, sort: true, searched: true },
  name: { type: "text", filter: true, sort: true, searched: true },
  amount: { type: "number", filter: true, sort: true },
  currency: { type: "text", filter: true, sort: true, values: currencyCodes },
  status: { type: "text", filter: true, sort: true, values: contractStatuses },
  signedAt: { type: "time", filter: true, sort: true, nullable: true },
  startDate: { type: "date", filter: true, sort: true, nullable: true },
  endDate: { type: "date", filter: true, sort: true, nullable: true },
  // The sum of its payments: written with each of them. The database computes the next three from it.
  receivedAmount: { type: "number", filter: true, sort: true, derived: true },
  outstandingAmount: { type: "number", filter: true, sort: true, derived: true },
  paidRatio: { type: "number", filter: true, sort: true, derived: true },
  overpaid: { type: "boolean", filter: true, derived: true },
  createdAt: { type: "time", filter: true, sort: true, fixed: true },
  updatedAt: { type: "time", filter: true, sort: true },
  version: { type: "integer" },
});

export interface ContractsTable extends ColumnTypes<typeof contractColumns> {
  /** `nameKey(number)`: unique among the live contracts. */
  numberKey: string;
  deletedAt: string | null;
  /** Generated: the text that `keyword` searches, in lower case. */
  search: GeneratedAlways<string>;
}
