import { type Parameters, statement, type TenantDb, type TenantTx } from "@cell/postgres";
import { sql } from "kysely";
import { db } from "../tables.ts";
import { nameKey } from "./domain.ts";
import { columns } from "./repository.ts";
import type { Customer } from "./schema.ts";

// Planned afresh at each run: a plan from when the table was small would read all of it.
const once = { keep: false };

const liveOnes = statement(
  (p: Parameters<{ customerIds: string[]; nameKeys: string[] }>) =>
    db
      .selectFrom("customers")
      .select(columns)
      .$castTo<Customer>()
      .where("deletedAt", "is", null)
      .where(sql<boolean>`(customer_id = any(${p.customerIds}::uuid[]) or name_key = any(${p.nameKeys}::text[]))`),
  once,
);

/** Rows that travel as one parameter, so that the text does not depend on their number. */
const given = (rows: unknown) =>
  sql<object>`json_to_recordset(${rows}::json)`.as<"row">(sql<never>`"row"("customerId" uuid, "name" text, "nameKey" text, "contactName" text,
    "contactPhone" text, "contactEmail" text, "industry" text, "level" text, "source" text, "status" text, "ownerId" text, "address" text,
    "tags" text[], "notes" text, "customFields" jsonb, "createdAt" timestamptz, "updatedAt" timestamptz, "version" int)`);

const insertRows = statement((p: Parameters<{ rows: string; importId: string }>) =>
  db
    .insertInto("customers")
    .columns([
      "customerId",
      "name",
      "nameKey",
      "contactName",
      "contactPhone",
      "contactEmail",
      "industry",
      "level",
      "source",
      "status",
      "ownerId",
      "address",
      "tags",
      "notes",
      "customFields",
      "createdAt",
      "updatedAt",
      "version",
      "importId",
    ])
    .expression(sql`select "row".*, ${p.importId}::uuid from ${given(p.rows)}`)
    .onConflict((conflict) => conflict.column("nameKey").where("deletedAt", "is", null).doNothing())
    .returning("customerId"),
);

const updateRows = statement(
  (p: Parameters<{ rows: string }>) =>
    db
      .updateTable("customers")
      .from(given(p.rows))
      .set({
        name: sql`"row"."name"`,
        nameKey: sql`"row"."nameKey"`,
        contactName: sql`"row"."contactName"`,
        contactPhone: sql`"row"."contactPhone"`,
        contactEmail: sql`"row"."contactEmail"`,
        industry: sql`"row"."industry"`,
        level: sql`"row"."level"`,
        source: sql`"row"."source"`,
        status: sql`"row"."status"`,
        ownerId: sql`"row"."ownerId"`,
        address: sql`"row"."address"`,
        tags: sql`"row"."tags"`,
        notes: sql`"row"."notes"`,
        customFields: sql`"row"."customFields"`,
        updatedAt: sql`"row"."updatedAt"`,
        version: sql`"row"."version"`,
      } as never)
      .where(
        sql<boolean>`customers.customer_id = "row"."customerId" and customers.version = "row"."version" - 1 and customers.deleted_at is null`,
      )
      .returning(sql<string>`customers.customer_id`.as("customerId")),
  once,
);

const removeRows = statement(
  (p: Parameters<{ rows: string; now: string }>) =>
    db
      .updateTable("customers")
      .from(given(p.rows))
      .set({ deletedAt: p.now, updatedAt: p.now, version: sql`customers.version + 1` } as never)
      .where(
        sql<boolean>`customers.customer_id = "row"."customerId" and customers.version = "row"."version" and customers.deleted_at is null`,
      )
      .returning(sql<string>`customers.customer_id`.as("customerId")),
  once,
);

/** The live customers with one of these ids or names (as `nameKey` gives them). */
export async function live(tenant: TenantDb, customerIds: readonly string[], nameKeys: readonly string[]): Promise<Customer[]> {
  if (customerIds.length === 0 && nameKeys.length === 0) return [];
  return tenant.query(liveOnes, { customerIds: [...customerIds], nameKeys: [...nameKeys] });
}

/** Inserts new customers. Resolves to the ids of those whose name was free. */
export async function insert(tx: TenantTx, rows: readonly Customer[], importId: string): Promise<Set<string>> {
  if (rows.length === 0) return new Set();
  return ids(await tx.run(insertRows, { rows: stored(rows), importId }));
}

/** Writes customers as they are at their new version. Resolves to the ids of those that were at the version before. */
export async function update(tx: TenantTx, rows: readonly Customer[]): Promise<Set<string>> {
  if (rows.length === 0) return new Set();
  return ids(await tx.run(updateRows, { rows: stored(rows) }));
}

/** Removes customers as they were read. Resolves to the ids of those that nobody had changed. */
export async function remove(tx: TenantTx, rows: readonly Customer[], now: string): Promise<Set<string>> {
  if (rows.length === 0) return new Set();
  return ids(await tx.run(removeRows, { rows: JSON.stringify(rows.map(({ customerId, version }) => ({ customerId, version }))), now }));
}

function stored(rows: readonly Customer[]): string {
  return JSON.stringify(rows.map((row) => ({ ...row, nameKey: nameKey(row.name) })));
}

function ids(rows: { customerId: string }[]): Set<string> {
  return new Set(rows.map(({ customerId }) => customerId));
}
