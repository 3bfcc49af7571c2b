import type { Visibility } from "@cell/cell";
import { nextVersion, type Parameters, type Rows, selectionOf, statement, type TenantDb, type TenantTx, valuesOf } from "@cell/postgres";
import { sql } from "kysely";
import type { CustomerMove } from "../customers/merge-participants.ts";
import { locksLiveCustomer } from "../customers/repository.ts";
import { db } from "../tables.ts";
import type { HistoryRow, TrackedOpportunity } from "./domain.ts";
import { arrivedBefore, initialProgress, namedProgress, progressAfter, progressColumns } from "./stage-progress.ts";
import { historyColumns, opportunityColumns } from "./table.ts";

/** The columns of a response without the probability, which is sent as a number. */
export const columns = opportunityColumns.all.filter((name) => name !== "probability");

export const probability = sql<number>`probability::float8`.as("probability");

export const stored = [...opportunityColumns.written, "historySeq"] as const;
/** The columns that an update may change. */
export const changing = [...opportunityColumns.changing, "historySeq"] as const;

const byId = statement((p: Parameters<{ opportunityId: string; owner: Visibility }>) =>
  db
    .selectFrom("opportunities")
    .select([...columns, "historySeq"])
    .select(probability)
    .$castTo<TrackedOpportunity>()
    .where("opportunityId", "=", p.opportunityId)
    .where("deletedAt", "is", null)
    .where(sql<boolean>`(${p.owner}::text is null or owner_id = ${p.owner})`),
);

const insertRow = statement((p: Parameters<TrackedOpportunity>) =>
  db
    .insertInto("opportunities")
    .columns([...stored, ...progressColumns])
    .expression(
      db
        .selectNoFrom(selectionOf(p, stored))
        .select(namedProgress(initialProgress(p.pipelineId, sql`array[${p.stage}]::text[]`)))
        .where(locksLiveCustomer(p.customerId)),
    ),
);

const updateRow = statement((p: Parameters<TrackedOpportunity & { read: number; deletedAt: string | null }>) =>
  db
    .updateTable("opportunities")
    .set({ ...valuesOf(p, [...changing, "deletedAt"]), ...progressAfter(p) })
    .where("opportunityId", "=", p.opportunityId)
    .where("version", "=", p.read)
    .where("deletedAt", "is", null),
);

const insertHistory = statement((p: Parameters<HistoryRow>) =>
  db.insertInto("opportunityHistory").values({ ...valuesOf(p, historyColumns.all), arrivedBeforeAt: arrivedBefore(p) }),
);

const moveAll = statement((p: Parameters<{ from: string; to: string; now: string }>) =>
  db
    .updateTable("opportunities")
    .set({
      customerId: p.to,
      updatedAt: sql`greatest(updated_at, ${p.now}::timestamptz)`,
      version: nextVersion,
      historySeq: sql`history_seq + 1`,
    })
    .where("customerId", "=", p.from)
    .where("deletedAt", "is", null)
    .returning(["opportunityId", "name", "version"]),
);

const trackAll = statement((p: Parameters<{ ids: string[]; actorId: string; requestId: string }>) =>
  db
    .insertInto("opportunityHistory")
    .columns(historyColumns.all)
    .expression(
      db
        .selectFrom("opportunities")
        .select([
          "opportunityId",
          "historySeq",
          sql<boolean>`false`.as("moved"),
          ...(["fromStage", "fromPipelineId", "fromStageType", "fromEnteredAt"] as const).map((name) => sql<null>`null`.as(name)),
          "pipelineId",
          "stage",
          "status",
          "amount",
          "currency",
          "probability",
          "expectedCloseDate",
          "closedAt",
          "ownerId",
          "customerId",
          sql<boolean>`false`.as("deleted"),
          "updatedAt",
          sql<string>`${p.actorId}::text`.as("actorId"),
          sql<string>`${p.requestId}::text`.as("requestId"),
        ])
        .where(sql<boolean>`opportunity_id = any(${p.ids}::uuid[])`),
    ),
);

/** A live opportunity, if the visibility covers it. */
export function find(tenant: TenantDb, opportunityId: string, owner: Visibility): Promise<TrackedOpportunity | undefined> {
  return tenant.first(byId, { opportunityId, owner });
}

/** The same as an unparsed row, for passing it on. */
export function findRow(tenant: TenantDb, opportunityId: string, owner: Visibility): Promise<Rows<TrackedOpportunity>> {
  return tenant.rows(byId, { opportunityId, owner });
}

export function insert(tx: TenantTx, row: TrackedOpportunity) {
  return tx.change(insertRow, row, "opportunity's customer lives");
}

/** Updates an opportunity that was read at version `read`. */
export function update(tx: TenantTx, row: TrackedOpportunity, read: number) {
  return tx.change(updateRow, { ...row, deletedAt: null, read }, "opportunity changed");
}

/** Deletes an opportunity that was read at version `read`. */
export function remove(tx: TenantTx, row: TrackedOpportunity, read: number) {
  return tx.change(updateRow, { ...row, deletedAt: row.updatedAt, read }, "opportunity changed");
}

/** Adds a change's row to the history. */
export function track(tx: TenantTx, row: HistoryRow | undefined) {
  return row ? [tx.change(insertHistory, row)] : [];
}

/** Moves the opportunities of one customer to another immediately, with history rows; resolves to them. Needs `tx.begin()`. */
export async function moveToCustomer(tx: TenantTx, { from, to, now, actorId, requestId }: CustomerMove) {
  const moved = await tx.run(moveAll, { from, to, now });
  if (moved.length > 0) await tx.run(trackAll, { ids: moved.map(({ opportunityId }) => opportunityId), actorId, requestId });
  return moved;
}
