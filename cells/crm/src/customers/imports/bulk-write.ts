import { copyValue, recordset } from "@cell/cell";
import { columnOf, field, fieldsOf, type Parameters, recordsOf, statement, type TenantDb, type TenantTx } from "@cell/postgres";
import { type RawBuilder, sql } from "kysely";
import { db } from "../../tables.ts";
import { changing, columns, stored, storedColumns } from "../repository.ts";
import type { Customer } from "../schema.ts";
import { customerColumns } from "../table.ts";

// Planned anew for each run: a plan from when the table was small would scan all of it.
const unprepared = { keep: false };

const liveOnes = statement(
  (p: Parameters<{ customerIds: string[]; nameKeys: string[] }>) =>
    db
      .selectFrom("customers")
      .select(columns)
      .$castTo<Customer>()
      .where("deletedAt", "is", null)
      .where(sql<boolean>`(customer_id = any(${p.customerIds}::uuid[]) or name_key = any(${p.nameKeys}::text[]))`),
  unprepared,
);

const owned = statement((p: Parameters<{ customerIds: string[]; ownerId: string }>) =>
  db
    .selectFrom("customers")
    .select("customerId")
    .where(sql<boolean>`customer_id = any(${p.customerIds}::uuid[])`)
    .where("ownerId", "=", p.ownerId),
);

const given = (rows: RawBuilder<string>) => recordset(rows, { ...customerColumns.kinds, nameKey: "text" });

const copiedColumns = [...storedColumns, "importId"].map(columnOf);

const updateRows = statement(
  (p: Parameters<{ rows: string }>) =>
    db
      .updateTable("customers")
      .from(given(p.rows))
      .set({
        ...fieldsOf(changing),
        nameKey: sql`case when customers.name = ${field("name")} then customers.name_key else ${field("name_key")} end`,
      })
      .where(
        sql<boolean>`customers.customer_id = "row".customer_id and customers.version = "row".version - 1 and customers.deleted_at is null`,
      )
      .returning(sql<string>`customers.customer_id`.as("customerId")),
  unprepared,
);

const removeRows = statement(
  (p: Parameters<{ rows: string; now: string }>) =>
    db
      .updateTable("customers")
      .from(given(p.rows))
      .set({ deletedAt: p.now, updatedAt: p.now, version: sql`customers.version + 1` })
      .where(sql<boolean>`customers.customer_id = "row".customer_id and customers.version = "row".version and customers.deleted_at is null`)
      .returning(sql<string>`customers.customer_id`.as("customerId")),
  unprepared,
);

/** The live customers with one of these ids or name keys. */
export async function live(tenant: TenantDb, customerIds: readonly string[], nameKeys: readonly string[]): Promise<Customer[]> {
  if (customerIds.length === 0 && nameKeys.length === 0) return [];
  return tenant.query(liveOnes, { customerIds: [...customerIds], nameKeys: [...nameKeys] });
}

/** Those of these customers that belong to an owner; includes deleted ones. */
export async function ownedBy(tenant: TenantDb, customerIds: readonly string[], ownerId: string): Promise<string[]> {
  return (await tenant.query(owned, { customerIds: [...customerIds], ownerId })).map(({ customerId }) => customerId);
}

/** Inserts new customers: all, or none if one of their names is taken. Resolves to the inserted ids. */
export async function insert(tx: TenantTx, rows: readonly Customer[], importId: string): Promise<Set<string>> {
  if (rows.length === 0) return new Set();
  const values = rows.map((row) => {
    const written = stored(row);
    return [...columns.map((column) => copyValue(customerColumns.kinds[column], written[column])), written.nameKey, importId];
  });
  const inserted = await tx.insertAll({ table: "customers", columns: copiedColumns, values, uniqueIndex: "customers_name_key" });
  return new Set(inserted ? rows.map(({ customerId }) => customerId) : []);
}

/** Writes customers at their new version. Resolves to the ids of those that had the previous version. */
export async function update(tx: TenantTx, rows: readonly Customer[]): Promise<Set<string>> {
  if (rows.length === 0) return new Set();
  return ids(await tx.run(updateRows, { rows: recordsOf(rows.map(stored)) }));
}

/** Deletes customers as they were read. Resolves to the ids of those that were unchanged. */
export async function remove(tx: TenantTx, rows: readonly Customer[], now: string): Promise<Set<string>> {
  if (rows.length === 0) return new Set();
  return ids(await tx.run(removeRows, { rows: recordsOf(rows.map(({ customerId, version }) => ({ customerId, version }))), now }));
}

function ids(rows: { customerId: string }[]): Set<string> {
  return new Set(rows.map(({ customerId }) => customerId));
}
