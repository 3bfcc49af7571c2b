import { tenantTables } from "@cell/postgres";

/** The columns of the tenants' tables, in the names that they have on the wire (in SQL: snake_case). */
export interface Tables {
  customers: CustomersTable;
}

export interface CustomersTable {
  customerId: string;
  name: string;
  /** `nameKey(name)`: unique among the live ones. */
  nameKey: string;
  contactName: string | null;
  contactPhone: string | null;
  contactEmail: string | null;
  industry: string | null;
  level: string | null;
  source: string | null;
  status: string;
  ownerId: string;
  address: string | null;
  tags: string[];
  notes: string | null;
  customFields: Record<string, unknown>;
  /** The survivor, where this one was merged away. */
  mergedInto: string | null;
  /** The import that created it. */
  importId: string | null;
  createdAt: string;
  updatedAt: string;
  deletedAt: string | null;
  version: number;
  /** Generated: what `keyword` searches, in lower case. */
  search: string;
}

/** The builder of this cell's statements. */
export const db = tenantTables<Tables>();
