import { type Cell, endpoint, idParams, listAnswer, listOf, type SealWitness, settingsOf, verifyTrail } from "@cell/cell";
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

/** The audit trail's routes. */
export function auditLogRoutes(witness: SealWitness): (cell: Cell) => void {
  return (cell) => {
    cell.list(listAuditLogs, auditLogs.lists, {
      conditions: async ({ query, tenant }) => auditLogs.conditions(query, effective(await settingsOf(tenant)).timezone),
    });
    cell.read(verifyAuditLogs, "Audit trail", (_, tenant) => verifyTrail(tenant, witness));
    cell.read(getAuditLog, "Audit entry", (call, tenant) => auditLogs.find(tenant, call.params.id));
  };
}
