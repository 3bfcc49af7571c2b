import { type AuditEntry, type Parameters, statement, type TenantDb, tenantTables } from "@cell/postgres";
import { sql } from "kysely";
import { assertWindow, spanOf } from "../calendar.ts";
import { type Condition, equals } from "../lists/conditions.ts";
import { ListRunner } from "../lists/lists.ts";
import { type AuditLog, type AuditLogQuery, auditLog } from "./schema.ts";

interface TrailTables {
  auditLogs: AuditEntry & { seq: number };
  auditSeals: { seal: number; fromTransaction: number; fromSeq: number; toTransaction: number; toSeq: number };
}

const db = tenantTables<TrailTables>();

const columns = [
  "id",
  "seq",
  "occurredAt",
  "actorId",
  "actorType",
  "action",
  "resourceType",
  "resourceId",
  "resourceName",
  "resourceVersion",
  "changes",
  "requestId",
  "importId",
  "ip",
  "userAgent",
] as const;

const place = sql`(audit_logs.transaction_id, audit_logs.seq)`;

/** The entry's seal is the last one that begins at or before it, if that one covers it. */
const entries = () =>
  db
    .selectFrom("auditLogs")
    .select(columns)
    .select((eb) =>
      eb
        .selectFrom((inner) =>
          inner
            .selectFrom("auditSeals")
            .select(["seal", "toTransaction", "toSeq"])
            .where(sql<boolean>`(from_transaction, from_seq) <= ${place}`)
            .orderBy("fromTransaction", "desc")
            .orderBy("fromSeq", "desc")
            .limit(sql.lit(1))
            .as("candidate"),
        )
        .select("candidate.seal")
        .where(sql<boolean>`${place} < (candidate.to_transaction, candidate.to_seq)`)
        .as("seal"),
    )
    .$castTo<AuditLog>();

const byId = statement((p: Parameters<{ id: string }>) => entries().where("id", "=", p.id));

export function find(tenant: TenantDb, id: string): Promise<AuditLog | undefined> {
  return tenant.first(byId, { id });
}

/** For lists and exports: newest first. */
export const lists = new ListRunner<AuditLog>({
  resource: auditLog,
  select: entries,
  id: "seq",
  defaultSort: "-seq",
  responseKind: "detail",
  fields: { seq: { type: "integer", sort: true } },
});

/** The conditions for the query's own parameters; dates are days in this timezone (IANA). */
export function conditions(query: AuditLogQuery, timezone: string): Condition[] {
  const { from, to, resourceType, resourceId, action, actorId, requestId } = query;
  const result = Object.entries({ resourceType, resourceId, action, actorId, requestId }).flatMap(([field, value]) =>
    value === undefined ? [] : [equals(field, value)],
  );
  const begin = from === undefined ? undefined : spanOf(from, timezone).from;
  const span = to === undefined ? undefined : spanOf(to, timezone);
  const end = span && (span.to ?? span.from);
  if (begin !== undefined && end !== undefined) assertWindow(begin, end, "to");
  if (begin !== undefined) result.push({ ...since, values: [begin] });
  if (end !== undefined) result.push({ ...before, values: [end] });
  return result;
}

const since = { cacheKey: "since", sql: ([time]: unknown[]) => sql<boolean>`occurred_at >= ${time}::timestamptz` };
const before = { cacheKey: "before", sql: ([time]: unknown[]) => sql<boolean>`occurred_at < ${time}::timestamptz` };
