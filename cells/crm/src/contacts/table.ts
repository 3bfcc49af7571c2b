import { type ColumnTypes, recordColumns } from "@cell/cell";
import type { GeneratedAlways } from "kysely";
import { phoneForms } from "../phone-number.ts";
import type { Contact } from "./schema.ts";

export const contactColumns = recordColumns<Contact>()({
  contactId: { type: "uuid", filter: true, fixed: true },
  customerId: { type: "uuid", filter: true, fixed: true },
  name: { type: "text", filter: true, sort: true, searched: true },
  title: { type: "text", filter: true, sort: true, nullable: true, searched: true },
  phone: { type: "phone", filter: true, sort: true, nullable: true, forms: phoneForms },
  email: { type: "email", filter: true, sort: true, nullable: true },
  isPrimary: { type: "boolean", filter: true },
  notes: { type: "text" },
  createdAt: { type: "time", filter: true, sort: true, fixed: true },
  updatedAt: { type: "time", filter: true, sort: true },
  version: { type: "integer" },
});

export interface ContactsTable extends ColumnTypes<typeof contactColumns> {
  deletedAt: string | null;
  /** Generated: the text that `keyword` searches, in lower case. */
  search: GeneratedAlways<string>;
}
