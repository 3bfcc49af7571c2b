import { type ColumnTypes, currencyCodes, recordColumns } from "@cell/cell";
import type { GeneratedAlways } from "kysely";
import { type Payment, paymentKinds, paymentStatuses } from "./schema.ts";

export const paymentColumns = recordColumns<Payment>()({
  paymentId: { type: "uuid", filter: true, fixed: true },
  contractId: { type: "uuid", filter: true, fixed: true },
  customerId: { type: "uuid", filter: true, fixed: true },
  amount: { type: "number", filter: true, sort: true },
  currency: { type: "text", filter: true, sort: true, values: currencyCodes },
  paidAt: { type: "time", filter: true, sort: true },
  method: { type: "text", filter: true, sort: true, nullable: true, searched: true },
  reference: { type: "text", filter: true, sort: true, nullable: true, searched: true },
  kind: { type: "text", filter: true, sort: true, values: paymentKinds },
  status: { type: "text", filter: true, sort: true, values: paymentStatuses },
  overpaid: { type: "boolean", filter: true },
  notes: { type: "text" },
  voidReason: { type: "text" },
  createdAt: { type: "time", filter: true, sort: true, fixed: true },
  updatedAt: { type: "time", filter: true, sort: true },
  version: { type: "integer" },
});

export interface PaymentsTable extends ColumnTypes<typeof paymentColumns> {
  /** `nameKey(reference)`: unique on its contract among the payments that are not void. */
  referenceKey: string | null;
  /** Generated: the text that `keyword` searches, in lower case. */
  search: GeneratedAlways<string>;
}
