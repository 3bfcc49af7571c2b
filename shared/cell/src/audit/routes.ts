import type { Cell, CellServices } from "../cell-types.ts";
import { csvLine } from "../csv/csv.ts";
import { endpoint, idParams, type RequestContextOf } from "../http/endpoint.ts";
import type { Condition } from "../lists/conditions.ts";
import { listResponse } from "../lists/list-query.ts";
import { fieldAccess } from "../schema/masking.ts";
import { listOf } from "../schema/resource.ts";
import { visibility } from "../schema/visibility.ts";
import { conventionsOf } from "../settings/stored.ts";
import { csvFile, fields } from "./csv-file.ts";
import type { AuditDraft } from "./entries.ts";
import * as auditLogs from "./repository.ts";
import { auditLog, auditLogQuery, verification } from "./schema.ts";
import { verifyTrail } from "./verify.ts";

const tag = "Audit";

const listAuditLogs = endpoint({
  method: "get",
  path: "/audit-logs",
  permission: "audit:read",
  tag,
  summary: "List audit entries, newest first",
  query: auditLogQuery,
  status: 200,
  response: listOf(auditLog, listResponse(auditLog)),
  produces: ["text/csv"],
  example: { file: `\uFEFF${csvLine(fields)}` },
});

const verifyAuditLogs = endpoint({
  method: "get",
  path: "/audit-logs/verify",
  permission: "audit:read",
  gateway: { slow: true, bulkhead: "streams" },
  tag,
  summary: "Compare the audit trail with its seals",
  description: `Finds the first entry or seal that was changed, deleted, inserted or moved after it was sealed. Each run reads the whole trail;
concurrent callers share one run. A response that takes longer than two seconds begins with white space, which JSON allows.`,
  status: 200,
  isPatient: true,
  isTenantWide: true,
  response: verification,
});

const getAuditLog = endpoint({
  method: "get",
  path: "/audit-logs/{id}",
  permission: "audit:read",
  tag,
  summary: "Read an audit entry",
  params: idParams,
  status: 200,
  response: auditLog,
});

type ListContext = RequestContextOf<typeof listAuditLogs>;

/** Routes of the audit trail. */
export function auditLogRoutes(cell: Cell, services: () => CellServices): void {
  cell.list(listAuditLogs, auditLogs.lists, { conditions, stream: (context, headers) => csvResponse(cell, context, headers) });
  cell.read(verifyAuditLogs, "Audit trail", (_, tenant) => verifyTrail(tenant, services().sealWitness));
  cell.read(getAuditLog, "Audit entry", async (context, tenant) =>
    // As in the list: the trail belongs to the tenant, and callers limited to their own records see none of it.
    visibility(context) === null ? auditLogs.find(tenant, context.params.id) : undefined,
  );
}

async function conditions({ query, tenant }: ListContext): Promise<Condition[]> {
  return auditLogs.conditions(query, (await conventionsOf(tenant)).timezone);
}

async function csvResponse(cell: Cell, context: ListContext, headers: Record<string, string>): Promise<Response | undefined> {
  const { format, page: _page, pageSize: _size, cursor: _cursor, total: _total, ...filter } = context.query;
  if (format !== "csv") return undefined;
  const request = await auditLogs.lists.resolve(context.tenant, context.query, context.caller, await conditions(context));
  const { statement, values } = auditLogs.lists.all(request);
  const { tenantId } = context.tenant;
  const pieces = (signal: AbortSignal) =>
    csvFile(
      context.tenant.reader().stream(statement, values, rowsAtOnce, signal),
      fieldAccess(context.caller, "detail"),
      tenantId,
      (rows, completed) => cell.record(context, [exportDraft(tenantId, { format, filter, fields, rows, completed })]),
    );
  return cell.file(context, headers, { name: "audit-logs.csv", pieces });
}

const rowsAtOnce = 100;

function exportDraft(tenantId: string, recorded: object): AuditDraft {
  const changes = Object.entries(recorded).map(([field, after]) => ({ field, before: null, after }));
  return { action: "export", resourceType: auditLog.type, resourceId: tenantId, resourceName: null, resourceVersion: null, changes };
}
