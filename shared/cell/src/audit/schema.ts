import { dateOrTime } from "@cell/http/openapi/document";
import { z } from "zod";
import { hasForm } from "../lists/field-types.ts";
import { listQuery } from "../lists/list-query.ts";
import { text } from "../schema/fields.ts";
import { type Resource, resource, resources, response } from "../schema/resource.ts";
import { auditActions } from "./entries.ts";
import { maskedEntry } from "./masked-entry.ts";
import { breakReasons } from "./verify.ts";

const auditLogSchema = z
  .object({
    id: z.uuid(),
    tenantId: z.string().meta({ examples: ["tenant-001"] }),
    seq: z.int().meta({ description: "Sequence number; failed writes leave gaps" }),
    occurredAt: z.iso.datetime(),
    actorId: z.string(),
    actorType: z.string().meta({ examples: ["user"] }),
    action: z.enum(auditActions).meta({ examples: ["update"] }),
    resourceType: z.string().meta({ examples: ["customer"] }),
    resourceId: z.string().meta({ examples: ["0197c3a2-7c1e-7b1a-9d53-0d6b6a1f2c10"] }),
    resourceName: z
      .string()
      .nullable()
      .meta({ description: "The name at that time", examples: ["某某公司"] }),
    resourceVersion: z
      .int()
      .nullable()
      .meta({ examples: [2] }),
    changes: z.array(z.object({ field: z.string(), before: z.unknown(), after: z.unknown() })).meta({
      description: "Phones and e-mails are masked without pii:read, amounts without amount:read",
      examples: [[{ field: "status", before: "lead", after: "active" }]],
    }),
    requestId: z.string(),
    importId: z.uuid().nullable(),
    ip: z.string().nullable(),
    userAgent: z.string().nullable(),
    seal: z.int().nullable().meta({ description: "The seal that covers it; null until it is sealed" }),
    _masked: z.array(z.string()).meta({ description: "The fields whose changes are masked" }),
  })
  .meta({ id: "AuditLog" });

export type AuditLog = Omit<z.infer<typeof auditLogSchema>, "tenantId" | "_masked">;

const declared = resource("auditLog", auditLogSchema, { id: "id", label: "resourceName" });

/** An audit entry; its changes are masked as in the detail response of their record. */
export const auditLog: Resource<AuditLog> = {
  ...declared,
  present: (row, fieldAccess, tenantId) =>
    declared.present(maskedEntry(row, resources.get(row.resourceType), fieldAccess), fieldAccess, tenantId),
};

const moment = (description: string) =>
  z
    .string()
    .refine((value) => hasForm("time", value), "must be a date (2026-01-31) or a time with its offset (2026-01-31T08:00:00Z)")
    .meta({ format: dateOrTime })
    .optional()
    .meta({ description, examples: ["2026-01-31"] });

const resourceType = z
  .string()
  .max(64)
  .superRefine((value, context) => {
    if (resources.has(value)) return;
    context.addIssue({ code: "custom", params: { code: "INVALID_ENUM" }, message: `must be one of ${[...resources.keys()].join(", ")}` });
  });

const uuid = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;
/** The id of a record: a UUID in either case is the same. A settings' id is the tenant's. */
const recordId = text(200, 1).overwrite((id) => (uuid.test(id) ? id.toLowerCase() : id));

export const auditLogQuery = listQuery.pick({ page: true, pageSize: true, cursor: true, total: true }).extend({
  resourceType: resourceType.optional().meta({ description: "Only changes of this resource", examples: ["customer"] }),
  resourceId: recordId.optional().meta({ description: "Only changes of the record with this id" }),
  action: z.enum(auditActions).optional().meta({ description: "Only this action" }),
  actorId: text(200, 1).optional().meta({ description: "Only changes by this user" }),
  requestId: text(200, 1).optional().meta({ description: "Only changes by the request with this id" }),
  from: moment("From then on; a date begins at midnight in the tenant's timezone"),
  to: moment("Before this time; a date includes its day"),
  format: z
    .enum(["json", "csv"])
    .optional()
    .meta({ description: "csv: all matches as one file, without paging; the export itself is audited" }),
});
export type AuditLogQuery = z.infer<typeof auditLogQuery>;

const breakSchema = z
  .object({
    seal: z.int().nullable().meta({ description: "The seal whose range contains it; null if the fault is in the trail's tables" }),
    entryId: z.uuid().nullable(),
    seq: z.int().nullable(),
    reason: z.enum(breakReasons).meta({
      description: `tail_removed: seals are missing at the end that were published outside the database. signature: no known key signed the seal.
unsealed: an entry has waited for its seal for more than 60 seconds, or claims a time or a transaction of the future. table_replaced,
row_security_added, rule_added, trigger_added, default_changed: a table of the trail may not show what was written to it`,
    }),
  })
  .meta({ id: "AuditBreak" });

export const verification = response(
  z
    .object({
      ok: z.boolean(),
      checked: z.int().meta({ description: "Sealed entries found unchanged" }),
      sealedUntil: z.iso.datetime().nullable().meta({ description: "Time of the last seal; later entries are not covered yet" }),
      unsealed: z.int().meta({ description: "Entries that are not sealed yet" }),
      oldestUnsealedAt: z.iso.datetime().nullable().meta({ description: "When the oldest unsealed entry was written" }),
      firstBroken: breakSchema.nullable(),
    })
    .meta({ id: "AuditVerification" }),
);
