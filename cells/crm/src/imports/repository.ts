import type { AuditOrigin } from "@cell/cell";
import { type Parameters, statement, type TenantDb, type TenantTx, tenantTables } from "@cell/postgres";
import { type Selectable, sql } from "kysely";
import { db } from "../tables.ts";
import type { ReportedProblem } from "./domain.ts";
import type { ImportActor, ImportedChange, ImportOptions } from "./importer.ts";
import type { ImportStatus, ImportsTable } from "./table.ts";

/** A stored import. */
export interface Import extends Omit<Selectable<ImportsTable>, "options" | "origin" | "columns" | "errors" | "kept" | "revertOrigin"> {
  options: ImportOptions;
  origin: ImportOrigin;
  columns: string[];
  errors: ReportedProblem[];
  kept: { id: string; reason: string }[];
  revertOrigin: ImportOrigin | null;
}

/** The origin of background work, for the audit trail. */
export type ImportOrigin = Omit<AuditOrigin, "now"> & { actor: ImportActor };

// Planned anew for each run: rows arrive faster than the statistics for a cached plan.
const unprepared = { keep: false };

const insertImport = statement(
  (p: Parameters<{ importId: string; resourceType: string; actorId: string; options: string; origin: string; createdAt: string }>) =>
    db.insertInto("imports").values({
      importId: p.importId,
      resourceType: p.resourceType,
      status: "receiving",
      phase: "apply",
      actorId: p.actorId,
      options: p.options,
      origin: p.origin,
      createdAt: p.createdAt,
    }),
);

const deleteImport = statement((p: Parameters<{ importId: string }>) => db.deleteFrom("imports").where("importId", "=", p.importId));
const byId = statement((p: Parameters<{ importId: string; actorId: string | null }>) =>
  db
    .selectFrom("imports")
    .selectAll()
    .$castTo<Import>()
    .where("importId", "=", p.importId)
    .where("status", "<>", "receiving")
    .where(sql<boolean>`(${p.actorId}::text is null or actor_id = ${p.actorId})`),
);

const lockById = statement((p: Parameters<{ importId: string }>) =>
  db
    .selectFrom("imports")
    .selectAll()
    .$castTo<Import>()
    .where("importId", "=", p.importId)
    .where("status", "in", ["queued", "running"])
    .forUpdate()
    .skipLocked(),
);

const lockToRevert = statement((p: Parameters<{ importId: string; actorId: string | null }>) =>
  db
    .selectFrom("imports")
    .selectAll()
    .$castTo<Import>()
    .where("importId", "=", p.importId)
    .where("status", "<>", "receiving")
    .where(sql<boolean>`(${p.actorId}::text is null or actor_id = ${p.actorId})`)
    .forUpdate(),
);

/** Whether a tenant has imports to carry out, or expired rows. */
export const needsRunner = `exists (select from "$tenant".imports where not swept and (status in ('queued', 'running') or created_at < now() - interval '1 day'))`;

const unfinished = statement((_: Parameters<object>) =>
  db
    .selectFrom("imports")
    .select(["importId", "resourceType"])
    .where("swept", "=", false)
    .where("status", "in", ["queued", "running"])
    .orderBy("createdAt"),
);

type Saved = Omit<Selectable<ImportsTable>, "resourceType" | "actorId" | "options" | "origin" | "createdAt">;

const update = statement((p: Parameters<Saved>) =>
  db
    .updateTable("imports")
    .set({
      status: p.status,
      phase: p.phase,
      columns: p.columns,
      total: p.total,
      done: p.done,
      created: p.created,
      updated: p.updated,
      skipped: p.skipped,
      failed: p.failed,
      errors: p.errors,
      errorsTruncated: p.errorsTruncated,
      failedRowBytes: p.failedRowBytes,
      failedRowsTruncated: p.failedRowsTruncated,
      reverted: p.reverted,
      kept: p.kept,
      revertSeq: p.revertSeq,
      revertOrigin: p.revertOrigin,
      swept: p.swept,
      finishedAt: p.finishedAt,
    })
    .where("importId", "=", p.importId),
);

const staleOnes = statement((_: Parameters<object>) =>
  db
    .selectFrom("imports")
    .select(["importId", "status"])
    .where("swept", "=", false)
    .where("createdAt", "<", sql<string>`now() - interval '1 day'`)
    .where("status", "not in", ["queued", "running"]),
);

const setSwept = statement((p: Parameters<{ importId: string }>) =>
  db.updateTable("imports").set({ swept: true }).where("importId", "=", p.importId),
);

interface AuditTables {
  auditLogs: {
    seq: number;
    importId: string | null;
    resourceType: string;
    resourceId: string;
    action: string;
    resourceVersion: number;
    changes: unknown;
  };
}

const importedAfter = statement(
  (p: Parameters<{ importId: string; resourceType: string; after: number; limit: number }>) =>
    tenantTables<AuditTables>()
      .selectFrom("auditLogs")
      .select(["seq", "resourceId", "action", "resourceVersion", "changes"])
      .$castTo<ImportedChange>()
      .where("importId", "=", p.importId)
      .where("resourceType", "=", p.resourceType)
      .where("seq", ">", p.after)
      .orderBy("seq")
      .limit(p.limit),
  unprepared,
);

/** A new import whose upload is in progress. */
export function insert(tx: TenantTx, { importId, resourceType, actorId, options, origin, createdAt }: Import) {
  return tx.change(insertImport, {
    importId,
    resourceType,
    actorId,
    options: JSON.stringify(options),
    origin: JSON.stringify(origin),
    createdAt,
  });
}

export function remove(tx: TenantTx, importId: string) {
  return tx.change(deleteImport, { importId });
}

/** An import whose upload is complete; `actorId` restricts to the caller's own. */
export function find(tenant: TenantDb, importId: string, actorId: string | null): Promise<Import | undefined> {
  return tenant.first(byId, { importId, actorId });
}

/** Locks an unfinished import; undefined if another process has locked it, or it is finished. */
export async function lock(tx: TenantTx, importId: string): Promise<Import | undefined> {
  return (await tx.run(lockById, { importId }))[0];
}

/** Locks an import of any status. */
export async function lockAny(tx: TenantTx, importId: string, actorId: string | null): Promise<Import | undefined> {
  return (await tx.run(lockToRevert, { importId, actorId }))[0];
}

/** The imports that are not finished, oldest first. */
export function listUnfinished(tenant: TenantDb): Promise<{ importId: string; resourceType: string }[]> {
  return tenant.query(unfinished, {});
}

/** Saves the progress of an import at the commit. */
export function save(tx: TenantTx, job: Import) {
  return tx.change(update, saved(job));
}

/** Saves the progress of an import immediately. */
export async function saveNow(tx: TenantTx, job: Import): Promise<void> {
  await tx.run(update, saved(job));
}

function saved(job: Import): Saved {
  const { columns, errors, kept: stored, revertOrigin, ...rest } = job;
  return {
    ...rest,
    columns: JSON.stringify(columns),
    errors: JSON.stringify(errors),
    kept: JSON.stringify(stored),
    revertOrigin: revertOrigin && JSON.stringify(revertOrigin),
  };
}

/** Imports whose rows have expired: a day old, or never uploaded completely. */
export function listStale(tenant: TenantDb): Promise<{ importId: string; status: ImportStatus }[]> {
  return tenant.query(staleOnes, {});
}

/** Marks an import's rows as deleted. */
export function sweep(tx: TenantTx, importId: string) {
  return tx.change(setSwept, { importId });
}

/** An import's changes after an audit entry. */
export function nextChanges(
  tx: TenantTx,
  job: Pick<Import, "importId" | "resourceType" | "revertSeq">,
  limit: number,
): Promise<ImportedChange[]> {
  return tx.query(importedAfter, { importId: job.importId, resourceType: job.resourceType, after: job.revertSeq, limit });
}
