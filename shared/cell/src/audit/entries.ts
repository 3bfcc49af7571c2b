import type { AuditEntry } from "@cell/postgres";
import { v7 as uuidv7 } from "uuid";
import type { RequestContext } from "../http/endpoint.ts";
import { exactMoney } from "../schema/money.ts";
import type { Resource } from "../schema/resource.ts";

export const auditActions = [
  "create",
  "update",
  "delete",
  "restore",
  "merge",
  "import",
  "export",
  "reveal",
  "settings",
  "void",
  "lookup",
] as const;
export type AuditAction = (typeof auditActions)[number];

/** One field that a write changed. */
export interface FieldChange {
  field: string;
  before: unknown;
  after: unknown;
}

/** A command's description of one changed record; the command adds actor, time and request. */
export interface AuditDraft {
  action: AuditAction;
  resourceType: string;
  resourceId: string;
  resourceName: string | null;
  resourceVersion: number | null;
  changes: FieldChange[];
  importId?: string;
}

/** Fields that change with every write and so carry no information. */
const bookkeeping = new Set(["updatedAt", "version", "tenantId"]);

/** A field of a record in the form that the trail stores: amounts as in responses. */
export function auditedValue({ amounts }: Pick<Resource, "amounts">, record: object, field: string): unknown {
  const { [field]: value = null, currency } = record as Record<string, unknown>;
  return value !== null && amounts.has(field) && typeof currency === "string" ? exactMoney(String(value), currency) : value;
}

/** The fields in which two records differ. */
export function diff<Row extends object>(resource: Resource<Row>, before: Partial<Row>, after: Partial<Row>): FieldChange[] {
  const changes: FieldChange[] = [];
  for (const field of resource.fields) {
    if (bookkeeping.has(field)) continue;
    const [old, now] = [(before as Record<string, unknown>)[field] ?? null, (after as Record<string, unknown>)[field] ?? null];
    if (old === now || JSON.stringify(old) === JSON.stringify(now)) continue;
    changes.push({ field, before: auditedValue(resource, before, field), after: auditedValue(resource, after, field) });
  }
  return changes;
}

/**
 * The entry for a record that was created, changed or deleted. `hidden`: fields that the entry always names at its end, so that it does not
 * reveal whether their values differ (see `hiddenFields`).
 */
export function audited<Row extends object>(
  action: AuditAction,
  resource: Resource<Row>,
  before: Partial<Row>,
  after: Partial<Row>,
  hidden: readonly string[] = [],
): AuditDraft {
  const known = { ...before, ...after } as Record<string, unknown>;
  return {
    action,
    resourceType: resource.type,
    resourceId: String(known[resource.id]),
    resourceName: (known[resource.label] as string | undefined) ?? null,
    resourceVersion: (known.version as number | undefined) ?? null,
    changes: action === "delete" ? [] : changesNaming(resource, before, after, hidden),
  };
}

function changesNaming<Row extends object>(
  resource: Resource<Row>,
  before: Partial<Row>,
  after: Partial<Row>,
  hidden: readonly string[],
): FieldChange[] {
  const changes = diff(resource, before, after);
  if (hidden.length === 0) return changes;
  const valueIn = (record: object, field: string) => auditedValue(resource, record, field);
  const named = hidden.map((field) => ({ field, before: valueIn(before, field), after: valueIn(after, field) }));
  return [...changes.filter(({ field }) => !hidden.includes(field)), ...named];
}

/** Who made a change, by which request and when. Background work stores this part of its request's context. */
export type AuditOrigin = Pick<RequestContext, "now" | "requestId" | "ip" | "userAgent"> & {
  caller: Pick<RequestContext["caller"], "userId" | "actorType">;
};

/** The audit entry of a draft, in this context. */
export function auditEntry(call: AuditOrigin, draft: AuditDraft): AuditEntry {
  return {
    id: uuidv7(),
    occurredAt: call.now,
    actorId: call.caller.userId,
    actorType: call.caller.actorType,
    action: draft.action,
    resourceType: draft.resourceType,
    resourceId: draft.resourceId,
    resourceName: draft.resourceName,
    resourceVersion: draft.resourceVersion,
    changes: draft.changes,
    requestId: call.requestId,
    importId: draft.importId ?? null,
    ip: call.ip,
    userAgent: call.userAgent,
  };
}
