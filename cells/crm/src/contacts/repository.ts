import { keyword, ListRunner, type Visibility } from "@cell/cell";
import { nextVersion, type Parameters, type Rows, selectionOf, statement, type TenantDb, type TenantTx, valuesOf } from "@cell/postgres";
import { sql } from "kysely";
import type { CustomerMove } from "../customers/merge-participants.ts";
import { locksLiveCustomer } from "../customers/repository.ts";
import { db } from "../tables.ts";
import { atCustomerOf } from "../visibility.ts";
import { type Contact, contact } from "./schema.ts";
import { contactColumns } from "./table.ts";

const { all: columns, changing, fields } = contactColumns;

const live = () => db.selectFrom("contacts").select(columns).$castTo<Contact>().where("deletedAt", "is", null);

const byId = statement((p: Parameters<{ contactId: string; owner: Visibility }>) =>
  live()
    .where("contactId", "=", p.contactId)
    .where(sql<boolean>`(${p.owner}::text is null or ${atCustomerOf("contacts", p.owner)})`),
);

const owned = statement((p: Parameters<{ ids: string[]; ownerId: string }>) =>
  db
    .selectFrom("contacts")
    .select("contactId")
    .where(sql<boolean>`contact_id = any(${p.ids}::uuid[])`)
    .where(atCustomerOf("contacts", p.ownerId)),
);

const insertRow = statement((p: Parameters<Contact>) =>
  db
    .insertInto("contacts")
    .columns(columns)
    .expression(db.selectNoFrom(selectionOf(p, columns)).where(locksLiveCustomer(p.customerId))),
);

const updateRow = statement((p: Parameters<Contact & { read: number }>) =>
  db
    .updateTable("contacts")
    .set(valuesOf(p, changing))
    .where("contactId", "=", p.contactId)
    .where("version", "=", p.read)
    .where("deletedAt", "is", null),
);

const deleteRow = statement((p: Parameters<{ contactId: string; read: number; now: string }>) =>
  db
    .updateTable("contacts")
    .set({ deletedAt: p.now, updatedAt: p.now, version: nextVersion })
    .where("contactId", "=", p.contactId)
    .where("version", "=", p.read)
    .where("deletedAt", "is", null),
);

const endPrimary = statement((p: Parameters<{ customerId: string; contactId: string; now: string }>) =>
  db
    .updateTable("contacts")
    .set({ isPrimary: false, updatedAt: p.now, version: nextVersion })
    .where("customerId", "=", p.customerId)
    .where("contactId", "!=", p.contactId)
    .where("isPrimary", "=", true)
    .where("deletedAt", "is", null)
    .returning(columns)
    .$castTo<Contact>(),
);

// A customer has one primary contact: moved contacts stay primary only if the customer has none.
const moveAll = statement((p: Parameters<{ from: string; to: string; now: string }>) =>
  db
    .updateTable("contacts")
    .set({
      customerId: p.to,
      isPrimary: sql`is_primary and not exists (${db
        .selectFrom("contacts as other")
        .select(sql`1`.as("one"))
        .where("other.customerId", "=", p.to)
        .where(sql<boolean>`other.is_primary and other.deleted_at is null`)})`,
      updatedAt: p.now,
      version: nextVersion,
    })
    .where("customerId", "=", p.from)
    .where("deletedAt", "is", null)
    .returning(["contactId", "name", "version"]),
);

/** Moves the contacts of one customer to another immediately; resolves to them. Needs `tx.begin()`. */
export function moveToCustomer(tx: TenantTx, { from, to, now }: CustomerMove) {
  return tx.run(moveAll, { from, to, now });
}

/** A live contact whose customer the visibility covers. */
export function find(tenant: TenantDb, contactId: string, owner: Visibility): Promise<Contact | undefined> {
  return tenant.first(byId, { contactId, owner });
}

/** The same as an unparsed row, for passing it on. */
export function findRow(tenant: TenantDb, contactId: string, owner: Visibility): Promise<Rows<Contact>> {
  return tenant.rows(byId, { contactId, owner });
}

/** Those of these contacts whose customer belongs to an owner; includes deleted contacts. */
export async function ownedBy(tenant: TenantDb, ids: readonly string[], ownerId: string): Promise<string[]> {
  return (await tenant.query(owned, { ids: [...ids], ownerId })).map(({ contactId }) => contactId);
}

export function insert(tx: TenantTx, row: Contact) {
  return tx.change(insertRow, row, "contact's customer lives");
}

/** Updates a contact that was read at version `read`. */
export function update(tx: TenantTx, row: Contact, read: number) {
  return tx.change(updateRow, { ...row, read }, "contact changed");
}

/** Deletes a contact that was read at version `read`. */
export function remove(tx: TenantTx, contactId: string, read: number, now: string) {
  return tx.change(deleteRow, { contactId, read, now }, "contact changed");
}

/** Makes the customer's other contacts non-primary immediately; resolves to those that were primary. Needs `tx.begin()`. */
export function endOthersPrimacy(tx: TenantTx, { customerId, contactId }: Contact, now: string): Promise<Contact[]> {
  return tx.run(endPrimary, { customerId, contactId, now });
}

export const lists = new ListRunner<Contact>({
  resource: contact,
  select: live,
  id: "contactId",
  countsDependOn: ["contact", "customer"],
  defaultSort: "-createdAt",
  visibleTo: (userId) => ({ cacheKey: "visible", values: [userId], sql: ([owner]) => atCustomerOf("contacts", owner) }),
  fields,
  keyword,
});
