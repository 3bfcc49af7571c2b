import { recordset } from "@cell/cell";
import { field, fieldsOf, type Parameters, recordsOf, statement, type TenantDb, type TenantTx } from "@cell/postgres";
import { type RawBuilder, sql } from "kysely";
import { locksLiveCustomer } from "../../customers/repository.ts";
import { db } from "../../tables.ts";
import type { HistoryRow, TrackedOpportunity } from "../domain.ts";
import { changing, columns, probability, stored } from "../repository.ts";
import { arrivedBefore, initialProgress, namedProgress, progressAfter, progressColumns } from "../stage-progress.ts";
import { historyColumns, opportunityColumns } from "../table.ts";

// Planned anew for each run: a plan from when the table was small would scan all of it.
const unprepared = { keep: false };

const given = (rows: RawBuilder<string>) =>
  recordset(rows, { ...opportunityColumns.kinds, historySeq: "integer", progress: "texts", read: "integer" });

const givenHistory = (rows: RawBuilder<string>) => recordset(rows, historyColumns.kinds);

const byIds = statement(
  (p: Parameters<{ ids: string[] }>) =>
    db
      .selectFrom("opportunities")
      .select([...columns, "historySeq"])
      .select(probability)
      .$castTo<TrackedOpportunity>()
      .where("deletedAt", "is", null)
      .where(sql<boolean>`opportunity_id = any(${p.ids}::uuid[])`),
  unprepared,
);

const owned = statement((p: Parameters<{ ids: string[]; ownerId: string }>) =>
  db
    .selectFrom("opportunities")
    .select("opportunityId")
    .where(sql<boolean>`opportunity_id = any(${p.ids}::uuid[])`)
    .where("ownerId", "=", p.ownerId),
);

const insertRows = statement((p: Parameters<{ rows: string; importId: string }>) =>
  db
    .insertInto("opportunities")
    .columns([...stored, ...progressColumns, "importId"])
    .expression(
      sql`select ${sql.join([...stored.map(field), ...namedProgress(initialProgress(field("pipelineId"), field("progress")))])}, ${p.importId}::uuid
        from ${given(p.rows)} where ${locksLiveCustomer(field("customerId"))}`,
    )
    .returning("opportunityId"),
);

const updateRows = statement(
  (p: Parameters<{ rows: string; deletedAt: string | null }>) =>
    db
      .updateTable("opportunities")
      .from(given(p.rows))
      .set({
        ...fieldsOf(changing),
        ...progressAfter({ pipelineId: field("pipelineId"), stage: field("stage"), status: field("status") }),
        deletedAt: p.deletedAt,
      })
      .where(
        sql<boolean>`opportunities.opportunity_id = "row".opportunity_id and opportunities.version = "row".read
          and opportunities.deleted_at is null`,
      )
      .returning(sql<string>`opportunities.opportunity_id`.as("opportunityId")),
  unprepared,
);

const arrival = {
  opportunityId: field("opportunityId"),
  seq: field("seq"),
  moved: field("moved"),
  pipelineId: field("pipelineId"),
  stage: field("stage"),
  stageType: field("stageType"),
};
const arrivedInGiven = sql`max("row".at) filter (where "row".moved and "row".stage_type = 'open') over (
  partition by "row".opportunity_id, "row".pipeline_id, "row".stage order by "row".seq rows between unbounded preceding and 1 preceding)`;

const insertHistory = statement((p: Parameters<{ rows: string }>) =>
  db
    .insertInto("opportunityHistory")
    .columns([...historyColumns.all, "arrivedBeforeAt"])
    .expression(
      sql`select ${sql.join([...historyColumns.all.map(field), arrivedBefore(arrival, arrivedInGiven)])} from ${givenHistory(p.rows)}`,
    ),
);

/** The live opportunities with these ids. */
export async function live(tenant: TenantDb, ids: readonly string[]): Promise<TrackedOpportunity[]> {
  return ids.length === 0 ? [] : tenant.query(byIds, { ids: [...ids] });
}

/** Those of these opportunities whose customer belongs to an owner; includes deleted ones. */
export async function ownedBy(tenant: TenantDb, ids: readonly string[], ownerId: string): Promise<string[]> {
  return (await tenant.query(owned, { ids: [...ids], ownerId })).map(({ opportunityId }) => opportunityId);
}

/**
 * Inserts new opportunities, each with the stages that it has passed (`progress`, as for `initialProgress`). Resolves to the ids of those
 * whose customer was still live.
 */
export async function insert(
  tx: TenantTx,
  rows: readonly (TrackedOpportunity & { progress: string[] })[],
  importId: string,
): Promise<Set<string>> {
  return rows.length === 0 ? new Set() : idsOf(await tx.run(insertRows, { rows: recordsOf(rows), importId }));
}

/** Writes opportunities at their new version. Resolves to the ids of those that had the previous version. */
export async function update(tx: TenantTx, rows: readonly TrackedOpportunity[]): Promise<Set<string>> {
  return write(tx, rows, null);
}

/** Deletes opportunities, given in their final state. Resolves to the ids of those that had the previous version. */
export async function remove(tx: TenantTx, rows: readonly TrackedOpportunity[], now: string): Promise<Set<string>> {
  return write(tx, rows, now);
}

/** Adds rows to the history of opportunities. */
export async function track(tx: TenantTx, rows: readonly HistoryRow[]): Promise<void> {
  if (rows.length > 0) await tx.run(insertHistory, { rows: recordsOf(rows) });
}

async function write(tx: TenantTx, rows: readonly TrackedOpportunity[], deletedAt: string | null): Promise<Set<string>> {
  if (rows.length === 0) return new Set();
  const read = rows.map((row) => ({ ...row, read: row.version - 1 }));
  return idsOf(await tx.run(updateRows, { rows: recordsOf(read), deletedAt }));
}

function idsOf(rows: { opportunityId: string }[]): Set<string> {
  return new Set(rows.map(({ opportunityId }) => opportunityId));
}
