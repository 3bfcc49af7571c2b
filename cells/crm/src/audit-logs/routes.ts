import {
  type AuditDraft,
  type CallOf,
  type Cell,
  type Condition,
  clearance,
  conventionsOf,
  endpoint,
  idParams,
  listAnswer,
  listOf,
  type SealWitness,
  verifyTrail,
} from "@cell/cell";
import { csvLine } from "../csv.ts";
import { visibility } from "../visibility.ts";
import { csvFile, fields } from "./file.ts";
import * as auditLogs from "./repository.ts";
import { auditLog, auditLogQuery, verification } from "./schema.ts";

const tag = "Audit";

const listAuditLogs = endpoint({
  method: "get",
  path: "/audit-logs",
  permission: "audit:read",
  tag,
  summary: "List what was changed, newest first",
  query: auditLogQuery,
  status: 200,
  answer: listOf(auditLog, listAnswer(auditLog)),
  produces: ["text/csv"],
  example: { file: `\uFEFF${csvLine(fields)}` },
});

const verifyAuditLogs = endpoint({
  method: "get",
  path: "/audit-logs/verify",
  permission: "audit:read",
  tag,
  summary: "Compare the audit trail with its seals",
  description: `Finds the first entry or seal that was changed, deleted, inserted or moved since it was sealed, by whomever. The whole trail is
read each time; callers at the same time share one run. An answer that takes longer than two seconds begins with white space, which JSON allows.`,
  status: 200,
  isPatient: true,
  answer: verification,
});

const getAuditLog = endpoint({
  method: "get",
  path: "/audit-logs/{id}",
  permission: "audit:read",
  tag,
  summary: "Read an audit entry",
  params: idParams,
  status: 200,
  answer: auditLog,
});

type ListCall = CallOf<typeof listAuditLogs>;

/** The audit trail's routes. */
export function auditLogRoutes(witness: SealWitness): (cell: Cell) => void {
  return (cell) => {
    cell.list(listAuditLogs, auditLogs.lists, { conditions, stream: (call, headers) => answerCsv(cell, call, headers) });
    cell.read(verifyAuditLogs, "Audit trail", (_, tenant) => verifyTrail(tenant, witness));
    cell.read(getAuditLog, "Audit entry", async (call, tenant) =>
      // As in the list: the trail is the tenant's, and shows nothing to who works on its own records.
      visibility(call) === null ? auditLogs.find(tenant, call.params.id) : undefined,
    );
  };
}

async function conditions({ query, tenant }: ListCall): Promise<Condition[]> {
  return auditLogs.conditions(query, (await conventionsOf(tenant)).timezone);
}

async function answerCsv(cell: Cell, call: ListCall, headers: Record<string, string>): Promise<Response | undefined> {
  const { format, page: _page, pageSize: _size, cursor: _cursor, total: _total, ...filter } = call.query;
  if (format !== "csv") return undefined;
  const request = await auditLogs.lists.resolve(call.tenant, call.query, call.caller, await conditions(call));
  const { statement, values } = auditLogs.lists.all(request);
  const { tenantId } = call.tenant;
  const pieces = (signal: AbortSignal) =>
    csvFile(
      call.tenant.reader().stream(statement, values, rowsAtOnce, signal),
      clearance(call.caller, "detail"),
      tenantId,
      (rows, completed) => cell.record(call, [exportDraft(tenantId, { format, filter, fields, rows, completed })]),
    );
  return cell.file(call, headers, { name: "audit-logs.csv", pieces });
}

const rowsAtOnce = 100;

function exportDraft(tenantId: string, told: object): AuditDraft {
  const changes = Object.entries(told).map(([field, after]) => ({ field, before: null, after }));
  return { action: "export", resourceType: auditLog.type, resourceId: tenantId, resourceName: null, resourceVersion: null, changes };
}
