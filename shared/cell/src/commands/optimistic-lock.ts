import { type Parameters, statement, type TenantDb, tenantTables } from "@cell/postgres";
import { notFound, Problem } from "@cell/problem";
import type { FieldChange } from "../audit/entries.ts";
import type { RequestContext } from "../http/endpoint.ts";
import type { Resource } from "../schema/resource.ts";

interface AuditTable {
  auditLogs: { resourceType: string; resourceId: string; resourceVersion: number | null; changes: FieldChange[] };
}

const changesSince = statement((p: Parameters<{ type: string; id: string; version: number }>) =>
  tenantTables<AuditTable>()
    .selectFrom("auditLogs")
    .select("changes")
    .where("resourceType", "=", p.type)
    .where("resourceId", "=", p.id)
    .where("resourceVersion", ">", p.version),
);

/**
 * The record that a write changes, after checking that it exists and has the version in If-Match.
 * Throws NOT_FOUND, and VERSION_CONFLICT with the current version and the request's fields that others have changed since.
 */
export async function requireVersion<Row extends { version: number }>(
  context: RequestContext,
  tenant: TenantDb,
  resource: Pick<Resource, "type" | "title" | "id">,
  record: Row | undefined,
): Promise<Row> {
  if (!record) throw notFound(resource.title);
  if (context.ifMatch === undefined || context.ifMatch === record.version) return record;
  const id = String((record as Record<string, unknown>)[resource.id]);
  const since = await tenant.query(changesSince, { type: resource.type, id, version: context.ifMatch });
  const changed = new Set(since.flatMap((entry) => entry.changes.map((change) => change.field)));
  const conflictingFields = Object.keys((context.body ?? {}) as object).filter((field) => changed.has(field));
  throw new Problem("VERSION_CONFLICT", `The record is at version ${record.version} now; read it again and repeat the change`, {
    details: { currentVersion: record.version, conflictingFields },
  });
}
