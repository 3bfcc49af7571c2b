import { inspect } from "@cell/postgres/testing/inspect";

/** Whether no transaction runs that began before a tenant's last entry was written. */
export async function isFinished(tenantId: string): Promise<boolean> {
  const running = "select from $tenant.audit_logs where transaction_id >= pg_snapshot_xmin(pg_current_snapshot())::text::bigint limit 1";
  return (await inspect(tenantId, running)).length === 0;
}

export interface StoredEntry {
  action: string;
  changes: unknown;
  resource_version: number | null;
  request_id: string;
}

/** The audit entries of a record, oldest first. */
export function auditOf(tenantId: string, resourceId: string): Promise<StoredEntry[]> {
  return inspect(tenantId, "select * from $tenant.audit_logs where resource_id = $1 order by seq", [resourceId]);
}

/** How many answers are kept. */
export async function storedResponses(tenantId: string): Promise<number> {
  return (
    (await inspect<{ responses: number }>(tenantId, "select count(*)::int as responses from $tenant.idempotency_keys"))[0]?.responses ?? 0
  );
}
