import {
  type Cell,
  csvLine,
  endpoint,
  fileResponse,
  idParams,
  type Outcome,
  type Presenter,
  type RequestContext,
  visibility,
} from "@cell/cell";
import type { TenantTx } from "@cell/postgres";
import { notFound, Problem } from "@cell/problem";
import { errorFile } from "./error-file.ts";
import type { Importer } from "./importer.ts";
import { open, originOf, receive } from "./receive.ts";
import { type ImportResponse, type RevertResponse, reportOf, revertOf } from "./report.ts";
import * as imports from "./repository.ts";
import { changesAtOnce, revertNext } from "./revert.ts";
import { importAccepted, importBody, importQuery, importReport, importRevert } from "./schema.ts";
import { TenantQueue } from "./tenant-queue.ts";
import { mostBytes } from "./upload.ts";
import { visibleReport, visibleRevert, withVisibleBody } from "./visibility.ts";

const tag = "Imports";
const longTransfer = { slow: true, bulkhead: "streams" } as const;

/** One of three rows is rejected. */
const exampleReport = {
  status: "completed",
  total: 3,
  done: 3,
  created: 2,
  updated: 0,
  skipped: 0,
  failed: 1,
  errors: [{ row: 3, line: 4, field: "name", code: "REQUIRED", message: "is required", duplicateOf: null }],
  errorFileUrl: "/api/v1/crm/imports/0197c3a6-33e1-7b84-86f2-e5a90d7c1b76/errors.csv",
  finishedAt: "2026-01-31T08:00:00.250Z",
};

const importRecords = ({ path, columns, examples }: Importer) =>
  endpoint({
    method: "post",
    path: `${path}/import`,
    permission: "crm:import",
    gateway: { ...longTransfer, bodyLimitBytes: mostBytes },
    tag,
    summary: `Import ${path.slice(1)}`,
    description: `${howToImport} Columns: ${headingsOf(columns)}.`,
    query: importQuery,
    body: importBody,
    files: ["text/csv", "multipart/form-data"],
    status: 200,
    response: importReport as Presenter<ImportResponse>,
    accepted: importAccepted,
    example: {
      body: { items: examples, mode: "upsert" },
      upload: [Object.keys(examples[0] ?? {}), ...examples.map(Object.values)].map(csvLine).join(""),
      response: exampleReport,
    },
  });

const howToImport = `As JSON (up to 16 MB), or as a CSV file by itself or in the form field \`file\` (UTF-8, or GBK with charset=gbk; up to 64 MB and
1,000,000 rows). What an export has is taken back: ids, times and versions are not written, a masked value means unchanged, a row that changes nothing is
skipped. A cell that is empty or of blanks leaves a field as it is, on creation empty; JSON null empties it. tags are separated by \`;\` or \`|\`, customFields
is JSON, a quote in front of = + - @ is taken off. A probability is in percent (50 or 50%); between 0 and 1 it needs the percent sign. Up to 5,000 rows, which
write up to 20,000 database rows with their stage histories, are answered with the report, more with 202: GET /imports/{id} then shows their status.`;

function headingsOf(columns: Importer["columns"]): string {
  return Object.entries(columns)
    .map(([name, { aliases }]) => (aliases.length === 0 ? name : `${name} (${aliases.join(", ")})`))
    .join("; ");
}

const getImport = endpoint({
  method: "get",
  path: "/imports/{id}",
  permission: "crm:import",
  tag,
  summary: "Read an import's progress and report",
  params: idParams,
  status: 200,
  response: importReport,
  example: { response: exampleReport },
});

const getErrors = endpoint({
  method: "get",
  path: "/imports/{id}/errors.csv",
  permission: "crm:import",
  gateway: longTransfer,
  tag,
  summary: "Download the failed rows of an import with their errors, as CSV",
  description:
    "With all their columns as they came, masked as far as the reader may not read them: to be corrected and imported again. Kept for a day.",
  params: idParams,
  status: 200,
  response: fileResponse,
  produces: ["text/csv"],
  example: { file: "\uFEFFname,contactPhone,errors\r\n,13800138000,name: REQUIRED is required\r\n" },
});

const revertImport = endpoint({
  method: "post",
  path: "/imports/{id}/revert",
  permission: "crm:import",
  gateway: longTransfer,
  tag,
  frees: true,
  summary: "Revert an import",
  description:
    "Deletes what it created and restores what it updated; a record that was changed since stays and is reported. More than 1,000 changes are answered with 202: a repeat of the call then tells.",
  params: idParams,
  status: 200,
  response: importRevert as Presenter<RevertResponse>,
  accepted: importAccepted,
});

/** Routes of imports. `wake` starts a tenant's deferred imports. */
export function importRoutes(importers: readonly Importer[], wake: (tenantId: string) => void) {
  const jsonQueue = new TenantQueue({ waitMs: 10_000, waiting: 8, what: "import in JSON" });
  return (cell: Cell): void => {
    for (const importer of importers) {
      cell.upload(importRecords(importer), async (context, commit) => {
        const given = await open(context, importer, jsonQueue);
        const result = await receive(context, importer, { ...given, requests: cell.requests }, commit, wake);
        return withVisibleBody(result, (body) => visibleReport(context, importer, body));
      });
    }

    cell.read(getImport, "Import", async (context, tenant) => {
      const job = await imports.find(tenant, context.params.id, visibility(context));
      return job && visibleReport(context, importerOf(importers, job), reportOf(job));
    });

    cell.stream(getErrors, async (context, headers) => {
      const job = await imports.find(context.tenant.reader(), context.params.id, visibility(context));
      if (!job || job.swept || job.failed === 0) throw notFound("Error file");
      const importer = importerOf(importers, job);
      return cell.file(context, headers, {
        name: `import-errors-${job.importId}.csv`,
        pieces: (signal) => errorFile(context, importer, job, signal),
      });
    });

    cell.upload(revertImport, async (context, commit) => {
      const result = await commit("", (tx) => revert(context, tx, importers));
      if (result.status === 202 && !result.replayed) wake(context.tenant.tenantId);
      return withVisibleBody(result, (body) => visibleRevert(context, importers, body));
    });
  };
}

/** The importer of an import's resource. */
function importerOf(importers: readonly Importer[], { resourceType }: imports.Import): Importer {
  const importer = importers.find(({ type }) => type === resourceType);
  if (!importer) throw new Error(`There is no importer for ${resourceType}`);
  return importer;
}

/** Reverts an import, or defers that if it is large. */
async function revert(
  context: RequestContext<{ id: string }>,
  tx: TenantTx,
  importers: readonly Importer[],
): Promise<Outcome<RevertResponse>> {
  await tx.begin();
  const found = await imports.lockAny(tx, context.params.id, visibility(context));
  if (!found) throw notFound("Import");
  const importer = importerOf(importers, found);
  const resourceId = found.importId;
  if (found.options.dryRun) throw new Problem("CONFLICT", "A dry run has written nothing to revert");
  if (found.status === "reverted") return { changes: [], audit: [], body: revertOf(found), resourceId };
  if (found.status !== "completed" && found.status !== "failed") throw new Problem("CONFLICT", "The import is still running");
  const job: imports.Import = { ...found, phase: "revert", revertOrigin: originOf(context) };
  if (job.created + job.updated > changesAtOnce) {
    await imports.saveNow(tx, { ...job, status: "queued", swept: false });
    return { status: 202, changes: [], audit: [], body: { importId: resourceId, status: "queued" }, resourceId };
  }
  const first = await revertNext(tx, importer, job, context.now);
  const last = first.job.status === "reverted" ? undefined : await revertNext(tx, importer, first.job, context.now);
  const reverted = last?.job ?? first.job;
  const [entry, ...more] = [...first.audit, ...(last?.audit ?? [])];
  if (!entry) throw new Error("a revert has an audit entry of its own");
  return { changes: [imports.save(tx, reverted)], audit: [entry, ...more], body: revertOf(reverted), resourceId };
}
