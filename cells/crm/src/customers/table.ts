import { type ColumnTypes, recordColumns } from "@cell/cell";
import type { GeneratedAlways } from "kysely";
import { phoneForms } from "../phone-number.ts";
import { type Customer, customerStatuses } from "./schema.ts";

export const customerColumns = recordColumns<Customer>()({
  customerId: { type: "uuid", filter: true, fixed: true },
  name: { type: "text", filter: true, sort: true, searched: true },
  contactName: { type: "text", filter: true, sort: true, nullable: true, searched: true },
  contactPhone: { type: "phone", filter: true, sort: true, nullable: true, forms: phoneForms },
  contactEmail: { type: "email", filter: true, sort: true, nullable: true },
  industry: { type: "text", filter: true, sort: true, nullable: true, searched: true },
  level: { type: "text", filter: true, sort: true, nullable: true },
  source: { type: "text", filter: true, sort: true, nullable: true },
  status: { type: "text", filter: true, sort: true, values: customerStatuses },
  ownerId: { type: "text", filter: true, sort: true },
  address: { type: "text", filter: true, nullable: true },
  tags: { type: "texts", filter: true },
  notes: { type: "text" },
  customFields: { type: "json" },
  createdAt: { type: "time", filter: true, sort: true, fixed: true },
  updatedAt: { type: "time", filter: true, sort: true },
  version: { type: "integer" },
});

export interface CustomersTable extends ColumnTypes<typeof customerColumns> {
  /** `nameKey(name)`: unique among the live customers. */
  nameKey: string;
  /** The survivor, if this customer was merged into another. */
  mergedInto: string | null;
  /** The import that created it. */
  importId: string | null;
  deletedAt: string | null;
  /** Generated: the text that `keyword` searches, in lower case. */
  search: GeneratedAlways<string>;
}
