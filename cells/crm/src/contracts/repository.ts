import { type ListRequest, Lists, likePattern } from "@cell/cell";
import { type Parameters, statement, type TenantDb, type TenantTx } from "@cell/postgres";
import { sql } from "kysely";
import { nameKey } from "../customers/domain.ts";
import { db } from "../tables.ts";
import { atCustomerOf, type Visibility } from "../visibility.ts";
import type { WrittenContract } from "./domain.ts";
import { type Contract, contract } from "./schema.ts";

const columns = [
  "contractId",
  "customerId",
  "opportunityId",
  "number",
  "name",
  "amount",
  "currency",
  "status",
  "signedAt",
  "startDate",
  "endDate",
  "createdAt",
  "updatedAt",
  "version",
] as const;

/** What was received on each contract of the query around it. */
const received = () =>
  db
    .selectFrom("payments")
    .select(sql<string>`coalesce(sum(case kind when 'payment' then amount else -amount end), 0)`.as("receivedAmount"))
    .whereRef("payments.contractId", "=", "contracts.contractId" as never)
    .where("status", "=", sql.lit("received"))
    .as("paid");

/** The figures of `settled` in SQL, so that lists can filter by them and add them up. */
const figures = () =>
  db
    .selectNoFrom([
      sql<string>`greatest(contracts.amount - paid.received_amount, 0)`.as("outstandingAmount"),
      sql<number>`round(paid.received_amount * 100 / contracts.amount, 2)::float8`.as("paidRatio"),
      sql<boolean>`paid.received_amount > contracts.amount`.as("overpaid"),
    ])
    .as("figures");

const live = () =>
  db
    .selectFrom("contracts")
    .innerJoinLateral(received, (join) => join.onTrue())
    .innerJoinLateral(figures, (join) => join.onTrue())
    .select(columns)
    .select(["receivedAmount", "outstandingAmount", "paidRatio", "overpaid"])
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

const nextOfSequence = statement((_: Parameters<object>) =>
  db.selectNoFrom(sql<number>`nextval('"$tenant".contract_numbers')`.as("n")),
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

const insertRow = statement((p: Parameters<Stored>) =>
  db
    .insertInto("contracts")
    .values(Object.fromEntries([...columns, "numberKey" as const].map((column) => [column, p[column]])) as never),
);

const updateRow = statement((p: Parameters<Stored & { read: number }>) =>
  db
    .updateTable("contracts")
    .set({
      opportunityId: p.opportunityId,
      number: p.number,
      numberKey: p.numberKey,
      name: p.name,
      amount: p.amount,
      currency: p.currency,
      status: p.status,
      signedAt: p.signedAt,
      startDate: p.startDate,
      endDate: p.endDate,
      updatedAt: p.updatedAt,
      version: p.version,
    } as never)
    .where("contractId", "=", p.contractId)
    .where("version", "=", p.read)
    .where("deletedAt", "is", null),
);

const touchRow = statement((p: Parameters<{ contractId: string; now: string }>) =>
  db
    .updateTable("contracts")
    .set({ updatedAt: p.now, version: sql`version + 1` } as never)
    .where("contractId", "=", p.contractId),
);

const deleteRow = statement((p: Parameters<{ contractId: string; read: number; now: string }>) =>
  db
    .updateTable("contracts")
    .set({ deletedAt: p.now, updatedAt: p.now, version: sql`version + 1` } as never)
    .where("contractId", "=", p.contractId)
    .where("version", "=", p.read)
    .where("deletedAt", "is", null),
);

const stored = (row: WrittenContract): Stored => ({ ...row, numberKey: nameKey(row.number) });

/** A live contract, if the visibility covers its customer. */
export function find(tenant: TenantDb, contractId: string, owner: Visibility): Promise<Contract | undefined> {
  return tenant.first(byId, { contractId, owner });
}

/** A live contract that nobody else writes until the transaction ends. Needs `tx.begin()`. */
export async function findLocked(tx: TenantTx, contractId: string, owner: Visibility): Promise<Contract | undefined> {
  await tx.run(lockRow, { contractId });
  // A statement of its own: the one that waited for the lock does not see what was written meanwhile.
  return find(tx, contractId, owner);
}

/** The id of the live contract with this number, as numbers are compared. */
export async function idOfNumber(tenant: TenantDb, number: string): Promise<string | undefined> {
  return (await tenant.first(byNumberKey, { numberKey: nameKey(number) }))?.contractId;
}

/** A number that was never given before; what asks for it need not be carried out. */
export async function nextNumber(tx: TenantTx): Promise<number> {
  const [row] = await tx.query(nextOfSequence, {});
  if (!row) throw new Error("a sequence gave nothing");
  return row.n;
}

/** Whether a contract has payments or refunds that are not void. */
export async function hasPayments(tenant: TenantDb, contractId: string): Promise<boolean> {
  return (await tenant.first(anyPayment, { contractId })) !== undefined;
}

export function insert(tx: TenantTx, row: WrittenContract) {
  return tx.change(insertRow, stored(row));
}

/** Writes a contract that was read at version `read`. */
export function update(tx: TenantTx, row: WrittenContract, read: number) {
  return tx.change(updateRow, { ...stored(row), read }, "contract changed");
}

/** Counts the version up, for a change in what was received. */
export function touch(tx: TenantTx, contractId: string, now: string) {
  return tx.change(touchRow, { contractId, now });
}

/** Removes a contract that was read at version `read`. */
export function remove(tx: TenantTx, contractId: string, read: number, now: string) {
  return tx.change(deleteRow, { contractId, read, now }, "contract changed");
}

export const lists = new Lists<Contract>({
  resource: contract,
  select: live,
  id: "contractId",
  defaultSort: "-createdAt",
  visibleTo: (userId) => ({ shape: "visible", values: [userId], sql: ([owner]) => atCustomerOf("contracts", owner) }),
  fields: {
    contractId: { type: "uuid" },
    customerId: { type: "uuid" },
    opportunityId: { type: "uuid" },
    number: { type: "text", sort: true },
    name: { type: "text", sort: true },
    amount: { type: "number", sort: true },
    currency: { type: "text", sort: true },
    status: { type: "text", sort: true },
    signedAt: { type: "time", sort: true, nullable: true },
    startDate: { type: "date", sort: true, nullable: true },
    endDate: { type: "date", sort: true, nullable: true },
    receivedAmount: { type: "number" },
    outstandingAmount: { type: "number" },
    overpaid: { type: "boolean" },
    createdAt: { type: "time", sort: true },
    updatedAt: { type: "time", sort: true },
  },
  keyword: (term) => ({
    shape: "keyword",
    values: [likePattern(term)],
    sql: ([pattern]) => sql<boolean>`search like ${pattern}`,
  }),
});

/** What the matches of a list come to, by currency. */
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
