import { booleanParam, resource, response } from "@cell/cell";
import { z } from "zod";
import { failedBytesAtMost, failedBytesOfAny, failedBytesPerByte, failedRowBytesAtMost } from "./failed-rows.ts";
import { duplicatePolicies, importModes } from "./importer.ts";

const described = {
  mode: "create new records only, update existing ones only, or both (upsert); by default create",
  matchBy:
    "The field that identifies existing records: the id field or, for customers, name; default: the id if a row has one, else the name",
  onDuplicate: "Handling of a row whose name exists already (create) or that duplicates another row of the upload; default: error",
  dryRun: "Report without writing anything",
  atomic: "All rows or none",
  async: "Respond immediately with 202, whatever the size",
};

/** The options in the query: for files, and also for JSON. */
export const importQuery = z.strictObject({
  mode: z.enum(importModes).optional().meta({ description: described.mode }),
  matchBy: z
    .string()
    .max(64)
    .optional()
    .meta({ description: described.matchBy, examples: ["customerId"] }),
  onDuplicate: z.enum(duplicatePolicies).optional().meta({ description: described.onDuplicate }),
  dryRun: booleanParam().optional().meta({ description: described.dryRun }),
  atomic: booleanParam().optional().meta({ description: described.atomic }),
  async: booleanParam().optional().meta({ description: described.async }),
  charset: z
    .string()
    .max(40)
    .optional()
    .meta({ description: "Encoding of a file whose media type has no charset: utf-8 (default) or gbk" }),
});
export type ImportQuery = z.infer<typeof importQuery>;

/** The options and the rows as JSON; each row is validated by itself. */
export const importBody = z
  .strictObject({
    items: z.array(z.unknown()).meta({ examples: [[{ name: "某某公司", contactPhone: "13800138000" }]] }),
    mode: z.enum(importModes).optional(),
    matchBy: z.string().max(64).optional(),
    onDuplicate: z.enum(duplicatePolicies).optional(),
    dryRun: z.boolean().optional(),
    atomic: z.boolean().optional(),
    async: z.boolean().optional(),
  })
  .meta({ id: "ImportRequest" });

const rowError = z.object({
  row: z.int().meta({ description: "From 1, the header not counted" }),
  line: z.int().nullable().meta({ description: "Where the row begins in the file; null for JSON" }),
  field: z
    .string()
    .nullable()
    .meta({ examples: ["contactPhone"] }),
  code: z.enum([
    "REQUIRED",
    "INVALID_FORMAT",
    "TOO_LONG",
    "INVALID_ENUM",
    "NOT_FOUND",
    "DUPLICATE_IN_FILE",
    "DUPLICATE_NAME",
    "MASKED_VALUE",
    "UNKNOWN_COLUMN",
  ]),
  message: z.string().meta({ examples: ["is not a valid phone number: 3 to 15 digits, separators and a leading + allowed"] }),
  duplicateOf: z
    .union([z.int(), z.string()])
    .nullable()
    .meta({ description: "DUPLICATE_IN_FILE: the first row; DUPLICATE_NAME: the record's id" }),
});

const statuses = ["queued", "running", "completed", "failed", "reverted"] as const;

const importSchema = z
  .object({
    importId: z.uuid(),
    status: z.enum(statuses),
    dryRun: z.boolean(),
    total: z.int().meta({ description: "Rows; created + updated + skipped + failed when it is completed" }),
    done: z.int(),
    created: z.int(),
    updated: z.int(),
    skipped: z.int(),
    failed: z.int(),
    errors: z.array(rowError).meta({ description: "The first 100" }),
    errorsTruncated: z.boolean(),
    errorFileTruncated: z.boolean().meta({
      description: `The error file lacks rows: it has the first ones, up to ${failedBytesOfAny / 1024 / 1024} MB and ${failedBytesPerByte} bytes for each byte of the upload's rows, at most ${failedBytesAtMost / 1024 / 1024} MB, and none of more than ${failedRowBytesAtMost / 1024} KB`,
    }),
    errorFileUrl: z.string().nullable().meta({ description: "The failed rows with their errors as CSV, for a day; null without any" }),
    createdAt: z.iso.datetime(),
    finishedAt: z.iso.datetime().nullable(),
  })
  .meta({ id: "Import" });

export const importReport = resource("import", importSchema, { id: "importId", label: "importId" });
export type ImportReport = z.infer<typeof importSchema>;

/** The response to an import that is not carried out yet. */
export const importAccepted = z.object({ importId: z.uuid(), status: z.enum(statuses) }).meta({ id: "ImportAccepted" });

const revertSchema = z
  .object({
    importId: z.uuid(),
    status: z.enum(statuses),
    reverted: z.int().meta({ description: "Records deleted or restored" }),
    skipped: z
      .array(
        z.object({
          customerId: z.uuid().optional(),
          opportunityId: z.uuid().optional(),
          reason: z.enum(["CHANGED_SINCE", "DELETED_SINCE", "DUPLICATE_NAME"]),
        }),
      )
      .meta({ description: "Records that were not changed; the first 1000" }),
  })
  .meta({ id: "ImportRevert" });
export type ImportRevert = z.infer<typeof revertSchema>;
export const importRevert = response(revertSchema);
