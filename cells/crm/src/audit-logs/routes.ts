import { type CallOf, type Cell, clearance, type Condition, endpoint, idParams, type ListRequest, listAnswer, listOf, type SealWitness, settingsOf, verifyTrail } from "@cell/cell";
import { sendStream } from "@cell/http";
import { csvLine } from "../csv.ts";
import { effective } from "../settings/domain.ts";
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
});

const verifyAuditLogs = endpoint({
  method: "get",
  path: "/audit-logs/verify",
  permission: "audit:read",
  tag,
  summary: "Compare the audit trail with its seals",
  description: "Finds the first entry or seal that was changed, deleted, inserted or moved since it was sealed, by whomever.",
  status: 200,
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
    cell.read(getAuditLog, "Audit entry", (call, tenant) => auditLogs.find(tenant, call.params.id));
  };
}

async function conditions({ query, tenant }: ListCall): Promise<Condition[]> {
  return auditLogs.conditions(query, effective(await settingsOf(tenant)).timezone);
}

async function answerCsv(cell: Cell, call: ListCall, headers: Record<string, string>): Promise<Response | undefined> {
  const { format, page: _page, pageSize: _size, cursor: _cursor, total: _total, ...filter } = call.query;
  if (format !== "csv") return undefined;
  const request = auditLogs.lists.resolve(call.query, call.caller, await conditions(call));
  const rows = await auditLogs.lists.count(call.tenant.reader(), request);
  const changes = Object.entries({ filter, fields: csvFields, rows }).map(([field, after]) => ({ field, before: null, after }));
  const subject = { resourceType: auditLog.type, resourceId: call.tenant.tenantId, resourceName: null, resourceVersion: null };
  await cell.record(call, [{ action: "export", ...subject, changes }]);
  const file = { ...headers, "content-type": "text/csv; charset=utf-8", "content-disposition": 'attachment; filename="audit-logs.csv"' };
  return sendStream(call.context.env.outgoing, 200, file, csvLines(call, request));
}

const csvFields = auditLog.fields.filter((field) => field !== "_masked");

async function* csvLines(call: ListCall, request: ListRequest): AsyncGenerator<string> {
  const { statement, values } = auditLogs.lists.all(request);
  const cleared = clearance(call.caller, "detail");
  yield `\uFEFF${csvLine(csvFields)}`;
  for await (const rows of call.tenant.reader().stream(statement, values, 500)) {
    const lines = rows.map((row) => {
      const presented = auditLog.present(row, cleared, call.tenant.tenantId) as Record<string, unknown>;
      return csvLine(csvFields.map((field) => presented[field]));
    });
    yield lines.join("");
  }
}
