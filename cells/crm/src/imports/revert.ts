import type { AuditDraft } from "@cell/cell";
import type { TenantTx } from "@cell/postgres";
import { importChanges } from "./domain.ts";
import type { Importer } from "./importer.ts";
import * as imports from "./repository.ts";

/** Changes reverted per step. */
export const changesAtOnce = 1_000;
const maxStored = 1_000;

/** Reverts the next changes of an import; when none are left, the import is reverted. */
export async function revertNext(
  tx: TenantTx,
  importer: Importer,
  job: imports.Import,
  now: string,
): Promise<{ job: imports.Import; audit: AuditDraft[] }> {
  const changes = await imports.nextChanges(tx, job, changesAtOnce);
  const last = changes.at(-1);
  if (!last) return { job: { ...job, status: "reverted" }, audit: [revertEntry(job)] };
  const { caller, requestId } = job.revertOrigin ?? job.origin;
  const { audit, kept: stored } = await importer.revert(tx, changes, { now, actorId: caller.userId, requestId });
  const next = { ...job, status: "running" as const, revertSeq: last.seq, reverted: job.reverted + audit.length };
  return { job: { ...next, kept: [...job.kept, ...stored].slice(0, maxStored) }, audit };
}

function revertEntry({ importId, status, reverted, kept: stored }: imports.Import): AuditDraft {
  return {
    action: "restore",
    resourceType: "import",
    resourceId: importId,
    resourceName: null,
    resourceVersion: null,
    changes: [{ field: "status", before: status, after: "reverted" }, ...importChanges({ reverted, kept: stored.length })],
  };
}
