import { type Condition, keyword, type ListRequest, ListRunner, type Visibility } from "@cell/cell";
import { nameKey } from "@cell/http";
import { nextVersion, type Parameters, type Rows, selectionOf, statement, type TenantDb, type TenantTx, valuesOf } from "@cell/postgres";
import { sql } from "kysely";
import type { CustomerMove } from "../customers/merge-participants.ts";
import { keyAfterUpdate, locksLiveCustomer } from "../customers/repository.ts";
import { db } from "../tables.ts";
import { atCustomerOf } from "../visibility.ts";
import { owingNothing, type WrittenContract } from "./domain.ts";
import { type Contract, contract } from "./schema.ts";
import { contractColumns } from "./table.ts";

const { written: columns, changing, fields } = contractColumns;

/** The fields of `settledContract` are computed columns, so that lists can filter by them and sum them. */
const live = () =>
  db
    .selectFrom("contracts")
    .select(contractColumns.all.filter((name) => name !== "paidRatio"))
    .select(sql<number>`paid_ratio::float8`.as("paidRatio"))
    .$castTo<Contract>()
    .where("deletedAt", "is", null);

const byId = statement((p: Parameters<{ contractId: string; owner: Visibility }>) =>
  live()
    .where("contractId", "=", p.contractId)
    .where(sql<boolean>`(${p.owner}::text is null or ${atCustomerOf("contracts", p.owner)})`),
);

const lockRow = statement((p: Parameters<{ contractId: string }>) =>
  db.selectFrom("contracts").select("contractId").where("contractId", "=", p.contractId).forNoKeyUpdate(),
);

const byNumberKey = statement((p: Parameters<{ numberKey: string }>) =>
  db.selectFrom("contracts").select("contractId").where("numberKey", "=", p.numberKey).where("deletedAt", "is", null),
);

const nextOfSequence = statement((_: Parameters<object>) => db.selectNoFrom(sql<number>`nextval('"$tenant".contract_numbers')`.as("n")));

const sumOfPayments = statement((p: Parameters<{ contractId: string }>) =>
  db
    .selectFrom("payments")
    .select(sql<string>`coalesce(sum(case kind when 'payment' then amount else -amount end), 0)`.as("receivedAmount"))
    .where("contractId", "=", p.contractId)
    .where("status", "=", sql.lit("received")),
);

const anyPayment = statement((p: Parameters<{ contractId: string }>) =>
  db
    .selectFrom("payments")
    .select("paymentId")
    .where("contractId", "=", p.contractId)
    .where("status", "=", sql.lit("received"))
    .limit(sql.lit(1)),
);

type Stored = WrittenContract & { numberKey: string };
const stored = [...columns, "numberKey"] as const;
const changeable = [...changing, "numberKey"] as const;

const owned = statement((p: Parameters<{ ids: string[]; ownerId: string }>) =>
  db
    .selectFrom("contracts")
    .select("contractId")
    .where(sql<boolean>`contract_id = any(${p.ids}::uuid[])`)
    .where(atCustomerOf("contracts", p.ownerId)),
);

const insertRow = statement((p: Parameters<Stored>) =>
  db
    .insertInto("contracts")
    .columns(stored)
    .expression(db.selectNoFrom(selectionOf(p, stored)).where(locksLiveCustomer(p.customerId))),
);

const updateRow = statement((p: Parameters<Stored & { read: number }>) =>
  db
    .updateTable("contracts")
    .set({ ...valuesOf(p, changeable), numberKey: keyAfterUpdate("number", p.number, p.numberKey) })
    .where("contractId", "=", p.contractId)
    .where("version", "=", p.read)
    .where("deletedAt", "is", null),
);

const setReceived = statement((p: Parameters<{ contractId: string; receivedAmount: string; now: string }>) =>
  db
    .updateTable("contracts")
    .set({ receivedAmount: p.receivedAmount, updatedAt: p.now, version: nextVersion })
    .where("contractId", "=", p.contractId),
);

const deleteRow = statement((p: Parameters<{ contractId: string; read: number; now: string }>) =>
  db
    .updateTable("contracts")
    .set({ deletedAt: p.now, updatedAt: p.now, version: nextVersion })
    .where("contractId", "=", p.contractId)
    .where("version", "=", p.read)
    .where("deletedAt", "is", null),
);

const moveAll = statement((p: Parameters<{ from: string; to: string; now: string }>) =>
  db
    .updateTable("contracts")
    .set({ customerId: p.to, updatedAt: p.now, version: nextVersion })
    .where("customerId", "=", p.from)
    .where("deletedAt", "is", null)
    .returning(["contractId", "number", "version"]),
);

const keyed = (row: WrittenContract): Stored => ({ ...row, numberKey: nameKey(row.number) });

/** A live contract whose customer the visibility covers. */
function find(tenant: TenantDb, contractId: string, owner: Visibility): Promise<Contract | undefined> {
  return tenant.first(byId, { contractId, owner });
}

/** The same as an unparsed row, for passing it on. */
export function findRow(tenant: TenantDb, contractId: string, owner: Visibility): Promise<Rows<Contract>> {
  return tenant.rows(byId, { contractId, owner });
}

/** A live contract, locked until the transaction ends. Needs `tx.begin()`. */
export async function findLocked(tx: TenantTx, contractId: string, owner: Visibility): Promise<Contract | undefined> {
  await tx.run(lockRow, { contractId });
  // A separate statement: the one that waited for the lock does not see what was written meanwhile.
  return find(tx, contractId, owner);
}

/** What a contract has received: payments minus refunds, without void ones. Lock the contract first, so that it stays current. */
export async function received(tx: TenantTx, contractId: string): Promise<string> {
  return (await tx.first(sumOfPayments, { contractId }))?.receivedAmount ?? "0";
}

/** The id of the live contract with this number, compared by its key. */
export async function idOfNumber(tenant: TenantDb, number: string): Promise<string | undefined> {
  return (await tenant.first(byNumberKey, { numberKey: nameKey(number) }))?.contractId;
}

/** A number that was never used before; a failed request leaves a gap. */
export async function nextNumber(tx: TenantTx): Promise<number> {
  const [row] = await tx.query(nextOfSequence, {});
  if (!row) throw new Error("a sequence returned nothing");
  return row.n;
}

/** Whether a contract has payments or refunds that are not void. */
export async function hasPayments(tenant: TenantDb, contractId: string): Promise<boolean> {
  return (await tenant.first(anyPayment, { contractId })) !== undefined;
}

/** Those of these contracts whose customer belongs to an owner; includes deleted contracts. */
export async function ownedBy(tenant: TenantDb, ids: readonly string[], ownerId: string): Promise<string[]> {
  return (await tenant.query(owned, { ids: [...ids], ownerId })).map(({ contractId }) => contractId);
}

export function insert(tx: TenantTx, row: WrittenContract) {
  return tx.change(insertRow, keyed(row), "contract's customer lives");
}

/** Updates a contract that was read at version `read`. */
export function update(tx: TenantTx, row: WrittenContract, read: number) {
  return tx.change(updateRow, { ...keyed(row), read }, "contract changed");
}

/** Updates what a contract has received after a payment changed, and its version. Needs its lock. */
export function receive(tx: TenantTx, contractId: string, receivedAmount: string, now: string) {
  return tx.change(setReceived, { contractId, receivedAmount, now });
}

/** Deletes a contract that was read at version `read`. */
export function remove(tx: TenantTx, contractId: string, read: number, now: string) {
  return tx.change(deleteRow, { contractId, read, now }, "contract changed");
}

/** Moves the contracts of one customer to another immediately; resolves to them. Needs `tx.begin()`; payments move after them. */
export function moveToCustomer(tx: TenantTx, { from, to, now }: CustomerMove) {
  return tx.run(moveAll, { from, to, now });
}

export const lists = new ListRunner<Contract>({
  resource: contract,
  select: live,
  id: "contractId",
  countsDependOn: ["contract", "customer"],
  defaultSort: "-createdAt",
  visibleTo: (userId) => ({ cacheKey: "visible", values: [userId], sql: ([owner]) => atCustomerOf("contracts", owner) }),
  fields,
  keyword,
});

/** Contracts that count for what a customer owes and is worth: neither drafts nor void ones. */
export const agreed: Condition = {
  cacheKey: "agreed",
  values: [owingNothing],
  sql: ([statuses]) => sql<boolean>`status <> all(${statuses}::text[])`,
};

/** Totals of a list's matches by currency. */
export function totals(tenant: TenantDb, request: ListRequest) {
  return lists.aggregate(tenant, request, "by currency", (matches) =>
    db
      .selectFrom(matches)
      .select((eb) => [
        "currency",
        eb.fn.countAll<number>().as("count"),
        eb.fn.sum<string>("amount").as("amount"),
        eb.fn.sum<string>("receivedAmount").as("received"),
        eb.fn.sum<string>("outstandingAmount").as("outstanding"),
      ])
      .groupBy("currency")
      .orderBy("currency"),
  );
}
