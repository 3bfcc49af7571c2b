import {
  type Call,
  type Cell,
  type CommandAnswer,
  endpoint,
  fieldProblems,
  fileAnswer,
  idParams,
  type Outcome,
  type Presenter,
  readableKinds,
} from "@cell/cell";
import { trimTexts } from "@cell/http";
import type { TenantTx } from "@cell/postgres";
import { badField, badFields, notFound, Problem } from "@cell/problem";
import { v7 as uuidv7 } from "uuid";
import { csvLine, plainCell } from "../csv.ts";
import { visibility } from "../visibility.ts";
import { applyNext, finish, nothing, share } from "./apply.ts";
import { uploadOfFile } from "./csv-upload.ts";
import { synchronousRows } from "./domain.ts";
import * as failedRows from "./failed-rows.ts";
import { FailedRowView } from "./hidden.ts";
import type { Importer, ImportOptions } from "./importer.ts";
import { uploadOfJson } from "./json-upload.ts";
import * as imports from "./repository.ts";
import { changesAtOnce, revertNext } from "./revert.ts";
import { discard } from "./runner.ts";
import {
  type ImportQuery,
  type ImportReport,
  type ImportRevert,
  importAccepted,
  importBody,
  importQuery,
  importReport,
  importRevert,
} from "./schema.ts";
import { inSight, reportInSight, revertInSight } from "./sight.ts";
import { stage } from "./stage.ts";
import { Turns } from "./turns.ts";
import { type Upload, type UploadHead, uploadType } from "./upload.ts";

const tag = "Imports";

type Accepted = Pick<ImportReport, "importId" | "status">;
type ImportAnswer = Accepted & Partial<ImportReport>;
type RevertAnswer = Accepted & Partial<ImportRevert>;

/** One row of three is refused. */
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
    tag,
    summary: `Import ${path.slice(1)}`,
    description: `${howToImport} Columns: ${headingsOf(columns)}.`,
    query: importQuery,
    body: importBody,
    files: ["text/csv", "multipart/form-data"],
    status: 200,
    answer: importReport as unknown as Presenter<ImportAnswer>,
    accepted: importAccepted,
    example: {
      body: { items: examples, mode: "upsert" },
      upload: [Object.keys(examples[0] ?? {}), ...examples.map(Object.values)].map(csvLine).join(""),
      answer: exampleReport,
    },
  });

const howToImport = `As JSON (up to 16 MB), or as a CSV file by itself or in the form field \`file\` (UTF-8, or GBK with charset=gbk; up to 64 MB and
1,000,000 rows). What an export has is taken back: ids, times and versions are not written, a masked value means unchanged, a row that changes nothing is
skipped. A cell that is empty or of blanks leaves a field as it is, on creation empty; JSON null empties it. tags are separated by \`;\` or \`|\`, customFields
is JSON, a quote in front of = + - @ is taken off. A probability is in percent (50 or 50%); between 0 and 1 it needs the percent sign. Up to 5,000 rows are answered with the report, more with 202, of which GET /imports/{id} then tells.`;

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
  summary: "Read how far an import has come, and its report",
  params: idParams,
  status: 200,
  answer: importReport,
  example: { answer: exampleReport },
});

const getErrors = endpoint({
  method: "get",
  path: "/imports/{id}/errors.csv",
  permission: "crm:import",
  tag,
  summary: "The rows of an import that failed, with their errors, as CSV",
  description:
    "With all their columns as they came, masked as far as the reader may not read them: to be corrected and imported again. Kept for a day.",
  params: idParams,
  status: 200,
  answer: fileAnswer,
  produces: ["text/csv"],
  example: { file: "\uFEFFname,contactPhone,errors\r\n,13800138000,name: REQUIRED is required\r\n" },
});

const revertImport = endpoint({
  method: "post",
  path: "/imports/{id}/revert",
  permission: "crm:import",
  tag,
  frees: true,
  summary: "Take an import back",
  description:
    "Deletes what it created and restores what it updated; a record that was changed since stays and is reported. More than 1,000 changes are answered with 202: a repeat of the call then tells.",
  params: idParams,
  status: 200,
  answer: importRevert as unknown as Presenter<RevertAnswer>,
  accepted: importAccepted,
});

/** The routes of imports. `wake` has a tenant's imports carried out that were put off. */
export function importRoutes(importers: readonly Importer[], wake: (tenantId: string) => void) {
  const jsonTurns = new Turns({ waitMs: 10_000, waiting: 8, what: "import in JSON" });
  return (cell: Cell): void => {
    for (const importer of importers) {
      cell.upload(importRecords(importer), async (call, commit) => {
        const given = await open(call, importer, jsonTurns);
        const result = await receive(call, importer, { ...given, requests: cell.requests }, commit, wake);
        return inSight(result, (body) => reportInSight(call, importer, body));
      });
    }

    cell.read(getImport, "Import", async (call, tenant) => {
      const job = await imports.find(tenant, call.params.id, visibility(call));
      return job && reportInSight(call, importerOf(importers, job), reportOf(job));
    });

    cell.stream(getErrors, async (call, headers) => {
      const job = await imports.find(call.tenant.reader(), call.params.id, visibility(call));
      if (!job || job.swept || job.failed === 0) throw notFound("Error file");
      const importer = importerOf(importers, job);
      return cell.file(call, headers, {
        name: `import-errors-${job.importId}.csv`,
        pieces: (signal) => errorFile(call, importer, job, signal),
      });
    });

    cell.upload(revertImport, async (call, commit) => {
      const result = await commit("", (tx) => revert(call, tx, importers));
      if (result.status === 202 && !result.replayed) wake(call.tenant.tenantId);
      return inSight(result, (body) => revertInSight(call, importers, body));
    });
  };
}

interface Uploaded {
  upload: Upload;
  options: ImportOptions;
  isAsync: boolean;
}

/** What a call uploads, and how it is to be taken. Throws what is wrong with the request as a whole. */
async function open(call: Call<unknown, ImportQuery>, importer: Importer, jsonTurns: Turns): Promise<Uploaded> {
  const { req, env } = call.context;
  const head: UploadHead = {
    contentType: req.header("content-type") ?? "",
    contentEncoding: req.header("content-encoding"),
    contentLength: Number(req.header("content-length") ?? 0),
    charset: call.query.charset,
  };
  if (uploadType(head) !== "application/json") {
    return { upload: await uploadOfFile(env.incoming, head, importer.columns), ...optionsOf(call.query, importer) };
  }
  // All of the body is in memory until its rows have been put aside.
  const endTurn = await jsonTurns.take(call.tenant.tenantId);
  try {
    const { body, upload } = await uploadOfJson(env.incoming, endTurn);
    const parsed = importBody.safeParse(trimTexts(body), { reportInput: true });
    if (!parsed.success) throw badFields(fieldProblems(parsed.error, ""));
    return { upload, ...optionsOf({ ...call.query, ...parsed.data }, importer) };
  } catch (error) {
    endTurn();
    throw error;
  }
}

function optionsOf(given: Omit<ImportQuery, "charset">, { keys }: Importer): { options: ImportOptions; isAsync: boolean } {
  const { mode = "create", matchBy, onDuplicate = "error", dryRun = false, atomic = false } = given;
  const matchable = [...new Set([keys.name, keys.id])];
  if (matchBy !== undefined && !matchable.includes(matchBy))
    throw badField("matchBy", "INVALID_ENUM", `must be one of ${matchable.join(", ")}`);
  return { options: { mode, matchBy, onDuplicate, dryRun, atomic }, isAsync: given.async ?? false };
}

function originOf({ caller, requestId, ip, userAgent }: Call): imports.ImportOrigin {
  const { userId, actorType, scope } = caller;
  const actor = { userId, ownOnly: scope === "own", readable: [...readableKinds(caller)] };
  return { caller: { userId, actorType }, requestId, ip, userAgent, actor };
}

/** Whoever imports the resource of an import. */
function importerOf(importers: readonly Importer[], { resourceType }: imports.Import): Importer {
  const importer = importers.find(({ type }) => type === resourceType);
  if (!importer) throw new Error(`Nobody imports ${resourceType}`);
  return importer;
}

function newImport(call: Call, importer: Importer, options: ImportOptions): imports.Import {
  const origin = originOf(call);
  return {
    importId: uuidv7(),
    resourceType: importer.type,
    status: "receiving",
    phase: options.atomic && !options.dryRun ? "check" : "apply",
    actorId: origin.caller.userId,
    options,
    origin,
    columns: [],
    total: 0,
    done: 0,
    ...nothing,
    errors: [],
    errorsTruncated: false,
    failedRowBytes: 0,
    failedRowsTruncated: false,
    reverted: 0,
    kept: [],
    revertSeq: 0,
    revertOrigin: null,
    swept: false,
    createdAt: call.now,
    finishedAt: null,
  };
}

type Commit = (bodyDigest: string, work: (tx: TenantTx) => Promise<Outcome<ImportAnswer>>) => Promise<CommandAnswer<ImportAnswer>>;

/** Puts an upload aside, then commits what it comes to: the whole import, or that it is to be carried out. */
async function receive(
  call: Call,
  importer: Importer,
  { upload, options, isAsync, requests }: Uploaded & { requests(): number },
  commit: Commit,
  wake: (tenantId: string) => void,
): Promise<CommandAnswer<ImportAnswer>> {
  const { tenant } = call;
  const begun = newImport(call, importer, options);
  let taken = false;
  try {
    await tenant.write((session) => session.commit(undefined, [imports.insert(session.tx, begun)], []));
    const staged = await stage(tenant, begun, importer, upload, requests);
    upload.close();
    const job: imports.Import = {
      ...begun,
      columns: [...upload.headings()],
      total: staged.rows,
      failedRowsTruncated: staged.isTruncated,
      status: "queued",
    };
    const isPutOff = isAsync || job.total > synchronousRows;
    const result = await commit(upload.digest(), (tx) => (isPutOff ? putOff(tx, job) : carryOut(tx, importer, job, call)));
    taken = !result.replayed;
    if (taken && isPutOff) wake(tenant.tenantId);
    return result;
  } finally {
    upload.close();
    if (!taken) await discard(tenant, begun.importId, true);
  }
}

async function putOff(tx: TenantTx, job: imports.Import): Promise<Outcome<ImportAnswer>> {
  await tx.begin();
  await imports.saveNow(tx, job);
  return {
    status: 202,
    changes: [],
    audit: [],
    body: { importId: job.importId, status: job.status as "queued" },
    resourceId: job.importId,
  };
}

/** All rows at once, in the command's transaction. */
async function carryOut(tx: TenantTx, importer: Importer, job: imports.Import, call: Call): Promise<Outcome<ImportAnswer>> {
  await tx.begin();
  const { atomic, dryRun } = job.options;
  const apply = (write: boolean) => applyNext(tx, importer, job, 0, call.now, { ...share.whole, write });
  const first = await apply(!atomic && !dryRun);
  let { counts } = first;
  if (atomic && !dryRun && counts.failed === 0) {
    ({ counts } = await apply(true));
    if (counts.failed > 0)
      throw new Problem("UNAVAILABLE", "Others write the same records just now; try again", { headers: { "retry-after": "1" } });
  }
  const finished = await finish(tx, { ...job, failedRowsTruncated: first.failedRowsTruncated }, counts, call.now);
  return { changes: [imports.save(tx, finished.job)], audit: finished.audit, body: reportOf(finished.job) };
}

/** Takes an import back, or has that done where it is much. */
async function revert(call: Call<{ id: string }>, tx: TenantTx, importers: readonly Importer[]): Promise<Outcome<RevertAnswer>> {
  await tx.begin();
  const found = await imports.lockAny(tx, call.params.id, visibility(call));
  if (!found) throw notFound("Import");
  const importer = importerOf(importers, found);
  const resourceId = found.importId;
  if (found.options.dryRun) throw new Problem("CONFLICT", "A dry run has written nothing to take back");
  if (found.status === "reverted") return { changes: [], audit: [], body: revertOf(found), resourceId };
  if (found.status !== "completed" && found.status !== "failed") throw new Problem("CONFLICT", "The import is still under way");
  const job: imports.Import = { ...found, phase: "revert", revertOrigin: originOf(call) };
  if (job.created + job.updated > changesAtOnce) {
    await imports.saveNow(tx, { ...job, status: "queued", swept: false });
    return { status: 202, changes: [], audit: [], body: { importId: resourceId, status: "queued" }, resourceId };
  }
  const first = await revertNext(tx, importer, job, call.now);
  const last = first.job.status === "reverted" ? undefined : await revertNext(tx, importer, first.job, call.now);
  const reverted = last?.job ?? first.job;
  const [entry, ...more] = [...first.audit, ...(last?.audit ?? [])];
  if (!entry) throw new Error("A revert leaves its own entry");
  return { changes: [imports.save(tx, reverted)], audit: [entry, ...more], body: revertOf(reverted), resourceId };
}

function reportOf(job: imports.Import): ImportReport {
  const { importId, status, total, done, created, updated, skipped, failed, errors, errorsTruncated, createdAt, finishedAt } = job;
  return {
    importId,
    status: status as ImportReport["status"],
    dryRun: job.options.dryRun,
    total,
    done,
    created,
    updated,
    skipped,
    failed,
    errors: (errors as ImportReport["errors"]).map(problemOf),
    errorsTruncated,
    errorFileTruncated: job.failedRowsTruncated && !job.swept,
    errorFileUrl: failed > 0 && !job.swept ? `/api/v1/crm/imports/${importId}/errors.csv` : null,
    createdAt,
    finishedAt,
  };
}

/** A problem with its members in their order, which the database does not keep. */
function problemOf({ row, line, field, code, message, duplicateOf }: ImportReport["errors"][number]): ImportReport["errors"][number] {
  return { row, line, field, code, message, duplicateOf };
}

function revertOf({ importId, resourceType, status, reverted, kept }: imports.Import): RevertAnswer {
  const skipped = kept.map(({ id, reason }) => ({ [`${resourceType}Id`]: id, reason })) as ImportRevert["skipped"];
  return { importId, status: status as ImportReport["status"], reverted, skipped };
}

async function* errorFile(call: Call, { columns, sensitive }: Importer, job: imports.Import, signal: AbortSignal): AsyncGenerator<string> {
  const view = new FailedRowView({ headings: job.columns, columns, sensitive }, readableKinds(call.caller));
  const places = job.columns.flatMap((heading, index) => (heading === "errors" ? [] : index));
  yield `\uFEFF${csvLine([...places.map((index) => view.heading(job.columns[index] ?? "")), "errors"])}`;
  for await (const rows of failedRows.stream(call.tenant.reader(), job.importId, signal)) {
    yield rows
      .map(({ cells: kept, errors }) => {
        if (kept === false) return "";
        const told = errors.map(({ field, code, message }) => `${view.heading(field ?? "row")}: ${code} ${message}`).join(" | ");
        const shown = view.cells(cellsOf(kept, job.columns));
        return csvLine([...places.map((index) => shown[index] ?? ""), told]);
      })
      .join("");
  }
}

/** The cells of a failed row: an item has one for each heading. */
function cellsOf(kept: readonly string[] | Readonly<Record<string, unknown>>, headings: readonly string[]): readonly string[] {
  return Array.isArray(kept) ? kept : headings.map((heading) => plainCell((kept as Record<string, unknown>)[heading]));
}
