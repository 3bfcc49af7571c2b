import { keyword, type ListRequest, ListRunner, type Visibility } from "@cell/cell";
import { nameKey } from "@cell/http";
import { nextVersion, type Parameters, type Rows, statement, type TenantDb, type TenantTx, valuesOf } from "@cell/postgres";
import { sql } from "kysely";
import type { CustomerMove } from "../customers/merge-participants.ts";
import { db } from "../tables.ts";
import { atCustomerOf } from "../visibility.ts";
import { type Payment, payment } from "./schema.ts";
import { paymentColumns } from "./table.ts";

const { all: columns, fields } = paymentColumns;

const all = () => db.selectFrom("payments").select(columns).$castTo<Payment>();

const byId = statement((p: Parameters<{ paymentId: string; owner: Visibility }>) =>
  all()
    .where("paymentId", "=", p.paymentId)
    .where(sql<boolean>`(${p.owner}::text is null or ${atCustomerOf("payments", p.owner)})`),
);

const byReference = statement((p: Parameters<{ contractId: string; referenceKey: string }>) =>
  db
    .selectFrom("payments")
    .select("paymentId")
    .where("contractId", "=", p.contractId)
    .where("referenceKey", "=", p.referenceKey)
    .where("status", "=", sql.lit("received")),
);

const owned = statement((p: Parameters<{ ids: string[]; ownerId: string }>) =>
  db
    .selectFrom("payments")
    .select("paymentId")
    .where(sql<boolean>`payment_id = any(${p.ids}::uuid[])`)
    .where(atCustomerOf("payments", p.ownerId)),
);

const insertRow = statement((p: Parameters<Payment & { referenceKey: string | null }>) =>
  db.insertInto("payments").values(valuesOf(p, [...columns, "referenceKey"])),
);

const voidRow = statement((p: Parameters<Pick<Payment, "paymentId" | "voidReason" | "updatedAt" | "version"> & { read: number }>) =>
  db
    .updateTable("payments")
    .set({ status: sql.lit("void"), voidReason: p.voidReason, updatedAt: p.updatedAt, version: p.version })
    .where("paymentId", "=", p.paymentId)
    .where("version", "=", p.read),
);

const moveAll = statement((p: Parameters<{ from: string; to: string; now: string }>) =>
  db
    .updateTable("payments")
    .set({ customerId: p.to, updatedAt: p.now, version: nextVersion })
    .where("customerId", "=", p.from)
    .returning(["paymentId", "reference", "version"]),
);

/** A payment whose customer the visibility covers. */
export function find(tenant: TenantDb, paymentId: string, owner: Visibility): Promise<Payment | undefined> {
  return tenant.first(byId, { paymentId, owner });
}

/** The same as an unparsed row, for passing it on. */
export function findRow(tenant: TenantDb, paymentId: string, owner: Visibility): Promise<Rows<Payment>> {
  return tenant.rows(byId, { paymentId, owner });
}

/** The id of the payment with this reference on a contract, compared by its key, without void ones. */
export async function idOfReference(tenant: TenantDb, contractId: string, reference: string): Promise<string | undefined> {
  return (await tenant.first(byReference, { contractId, referenceKey: nameKey(reference) }))?.paymentId;
}

/** Those of these payments whose customer belongs to an owner. */
export async function ownedBy(tenant: TenantDb, ids: readonly string[], ownerId: string): Promise<string[]> {
  return (await tenant.query(owned, { ids: [...ids], ownerId })).map(({ paymentId }) => paymentId);
}

export function insert(tx: TenantTx, row: Payment) {
  return tx.change(insertRow, { ...row, referenceKey: row.reference === null ? null : nameKey(row.reference) });
}

/** Voids a payment that was read at the previous version. */
export function makeVoid(tx: TenantTx, { paymentId, voidReason, updatedAt, version }: Payment) {
  return tx.change(voidRow, { paymentId, voidReason, updatedAt, version, read: version - 1 }, "payment changed");
}

/**
 * Moves the payments of one customer to another immediately; resolves to them. Contracts move first, which keeps later payments from being
 * missed.
 */
export function moveToCustomer(tx: TenantTx, { from, to, now }: CustomerMove) {
  return tx.run(moveAll, { from, to, now });
}

export const lists = new ListRunner<Payment>({
  resource: payment,
  select: all,
  id: "paymentId",
  countsDependOn: ["payment", "contract", "customer"],
  defaultSort: "-createdAt",
  visibleTo: (userId) => ({ cacheKey: "visible", values: [userId], sql: ([owner]) => atCustomerOf("payments", owner) }),
  fields,
  keyword,
});

/** Totals of a list's matches by currency; void ones are counted, but their amounts are not added. */
export function totals(tenant: TenantDb, request: ListRequest) {
  const sumOf = (amount: ReturnType<typeof sql<string>>) => sql<string>`coalesce(sum(${amount}) filter (where status = 'received'), 0)`;
  return lists.aggregate(tenant, request, "by currency", (matches) =>
    db
      .selectFrom(matches)
      .select((eb) => [
        "currency",
        eb.fn.countAll<number>().as("count"),
        sumOf(sql`case kind when 'payment' then amount else 0 end`).as("received"),
        sumOf(sql`case kind when 'refund' then amount else 0 end`).as("refunded"),
        sumOf(sql`case kind when 'payment' then amount else -amount end`).as("net"),
      ])
      .groupBy("currency")
      .orderBy("currency"),
  );
}
