import type { Visibility } from "@cell/cell";
import { keyword, ListRunner } from "@cell/cell";
import { nameKey } from "@cell/http";
import { nextVersion, type Parameters, type Rows, statement, type TenantDb, type TenantTx, valuesOf } from "@cell/postgres";
import { type RawBuilder, sql } from "kysely";
import { db } from "../tables.ts";
import { type Customer, customer } from "./schema.ts";
import { customerColumns } from "./table.ts";

export const columns = customerColumns.all;

const lockRow = statement((p: Parameters<{ customerId: string }>) =>
  db.selectFrom("customers").select("customerId").where("customerId", "=", p.customerId).forUpdate(),
);

/** True for a live customer, which it locks until the transaction ends: records added to it cannot be missed by a merge. */
export const locksLiveCustomer = (customerId: RawBuilder<string>) =>
  sql<boolean>`exists (${db.selectFrom("customers").select(sql`1`.as("one")).where("customerId", "=", customerId).where("deletedAt", "is", null).forKeyShare()})`;

/**
 * The key of a text after an update. An unchanged text keeps its key, which may differ from the text's own: from before keys were unique.
 */
export const keyAfterUpdate = (column: "name" | "number", text: RawBuilder<string>, key: RawBuilder<string>) =>
  sql<string>`case when ${sql.ref(column)} = ${text}::text then ${sql.ref(`${column}Key`)} else ${key}::text end`;

type Stored = Customer & { nameKey: string };

/** The stored columns of a customer. */
export const storedColumns = [...columns, "nameKey"] as const;

/** The columns that an update may change. */
export const changing = [...customerColumns.changing, "nameKey"] as const;

const live = () => db.selectFrom("customers").select(columns).$castTo<Customer>().where("deletedAt", "is", null);

const byId = statement((p: Parameters<{ customerId: string; owner: Visibility }>) =>
  live().where("customerId", "=", p.customerId).where(sql<boolean>`(${p.owner}::text is null or owner_id = ${p.owner})`),
);

const deletedById = statement((p: Parameters<{ customerId: string; owner: Visibility }>) =>
  db
    .selectFrom("customers")
    .select([...columns, "deletedAt", "mergedInto"])
    .$castTo<Customer & { deletedAt: string | null; mergedInto: string | null }>()
    .where("customerId", "=", p.customerId)
    .where(sql<boolean>`(${p.owner}::text is null or owner_id = ${p.owner})`),
);

const byNameKey = statement((p: Parameters<{ nameKey: string }>) =>
  db.selectFrom("customers").select("customerId").where("nameKey", "=", p.nameKey).where("deletedAt", "is", null),
);

const insertRow = statement((p: Parameters<Stored & { importId: string | null }>) =>
  db.insertInto("customers").values(valuesOf(p, [...storedColumns, "importId"])),
);

const updateRow = statement((p: Parameters<Stored & { read: number }>) =>
  db
    .updateTable("customers")
    .set({
      ...valuesOf(p, changing),
      nameKey: keyAfterUpdate("name", p.name, p.nameKey),
      deletedAt: null,
      mergedInto: null,
    })
    .where("customerId", "=", p.customerId)
    .where("version", "=", p.read),
);

const deleteRow = statement((p: Parameters<{ customerId: string; read: number; now: string; mergedInto: string | null }>) =>
  db
    .updateTable("customers")
    .set({ deletedAt: p.now, updatedAt: p.now, mergedInto: p.mergedInto, version: nextVersion })
    .where("customerId", "=", p.customerId)
    .where("version", "=", p.read)
    .where("deletedAt", "is", null),
);

/** A customer with its name key. */
export const stored = (row: Customer): Stored => ({ ...row, nameKey: nameKey(row.name) });

/** A live customer, if the visibility covers it. */
export function find(tenant: TenantDb, customerId: string, owner: Visibility): Promise<Customer | undefined> {
  return tenant.first(byId, { customerId, owner });
}

/** The same as an unparsed row, for passing it on. */
export function findRow(tenant: TenantDb, customerId: string, owner: Visibility): Promise<Rows<Customer>> {
  return tenant.rows(byId, { customerId, owner });
}

/** A live or deleted customer. */
export function findAny(tenant: TenantDb, customerId: string, owner: Visibility) {
  return tenant.first(deletedById, { customerId, owner });
}

/** The id of the live customer with this name, compared by its key. */
export async function idOfName(tenant: TenantDb, name: string): Promise<string | undefined> {
  return (await tenant.first(byNameKey, { nameKey: nameKey(name) }))?.customerId;
}

export function insert(tx: TenantTx, row: Customer) {
  return tx.change(insertRow, { ...stored(row), importId: null });
}

/** Updates a customer that was read at version `read`; a deleted one becomes live again. */
export function update(tx: TenantTx, row: Customer, read: number) {
  return tx.change(updateRow, { ...stored(row), read }, "customer changed");
}

/** Keeps others from adding records to a customer until the transaction ends. Needs `tx.begin()`. */
export async function lock(tx: TenantTx, customerId: string): Promise<void> {
  await tx.run(lockRow, { customerId });
}

/** Deletes a live customer that was read at version `read`. */
export function remove(tx: TenantTx, customerId: string, read: number, now: string, mergedInto: string | null = null) {
  return tx.change(deleteRow, { customerId, read, now, mergedInto }, "customer changed");
}

/** For lists and exports. */
export const lists = new ListRunner<Customer>({
  resource: customer,
  select: live,
  id: "customerId",
  owner: "ownerId",
  countsDependOn: ["customer"],
  defaultSort: "-createdAt",
  fields: customerColumns.fields,
  keyword,
});
