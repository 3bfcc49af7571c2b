import { type CommandResponse, type Outcome, type RequestContext, readableKinds } from "@cell/cell";
import { trimTexts } from "@cell/http";
import type { TenantTx } from "@cell/postgres";
import { badField, badFields, Problem } from "@cell/problem";
import { fieldProblems } from "@cell/problem/schema-issues";
import { v7 as uuidv7 } from "uuid";
import { applyNext, batchSize, finish, nothing } from "./apply.ts";
import { uploadOfFile } from "./csv-upload.ts";
import { synchronousRows, synchronousWrites } from "./domain.ts";
import type { Importer, ImportOptions } from "./importer.ts";
import { uploadOfJson } from "./json-upload.ts";
import { type ImportResponse, reportOf } from "./report.ts";
import * as imports from "./repository.ts";
import { discard } from "./runner.ts";
import { type ImportQuery, importBody } from "./schema.ts";
import { putInStaging } from "./staging.ts";
import type { TenantQueue } from "./tenant-queue.ts";
import { type Upload, type UploadHead, uploadType } from "./upload.ts";

interface Uploaded {
  upload: Upload;
  options: ImportOptions;
  isAsync: boolean;
}

/** Reads the upload and the options of a request. Throws the problems of the request as a whole. */
export async function open(context: RequestContext<unknown, ImportQuery>, importer: Importer, jsonQueue: TenantQueue): Promise<Uploaded> {
  const { req, env } = context.context;
  const head: UploadHead = {
    contentType: req.header("content-type") ?? "",
    contentEncoding: req.header("content-encoding"),
    contentLength: Number(req.header("content-length") ?? 0),
    charset: context.query.charset,
  };
  if (uploadType(head) !== "application/json") {
    return { upload: await uploadOfFile(env.incoming, head, importer.columns), ...optionsOf(context.query, importer) };
  }
  // The whole body is in memory until its rows are staged.
  const release = await jsonQueue.take(context.tenant.tenantId);
  try {
    const { body, upload } = await uploadOfJson(env.incoming, release);
    const parsed = importBody.safeParse(trimTexts(body), { reportInput: true });
    if (!parsed.success) throw badFields(fieldProblems(parsed.error));
    return { upload, ...optionsOf(agreed(context.query, parsed.data), importer) };
  } catch (error) {
    release();
    throw error;
  }
}

/** Merges the options of the query and the body. Throws BAD_REQUEST if they contradict each other: dryRun=true must not write. */
function agreed<Options extends object>(query: Options, body: Options): Options {
  const contradicted = Object.entries(query).filter(([name, value]) => {
    const other = (body as Record<string, unknown>)[name];
    return value !== undefined && other !== undefined && value !== other;
  });
  if (contradicted.length > 0)
    throw badFields(
      contradicted.map(([path]) => ({ path, code: "INVALID_FORMAT", message: "has different values in the query and in the body" })),
    );
  return { ...query, ...body };
}

function optionsOf(given: Omit<ImportQuery, "charset">, { keys }: Importer): { options: ImportOptions; isAsync: boolean } {
  const { mode = "create", matchBy, onDuplicate = "error", dryRun = false, atomic = false } = given;
  const matchable = [...new Set([keys.name, keys.id])];
  if (matchBy !== undefined && !matchable.includes(matchBy))
    throw badField("matchBy", "INVALID_ENUM", `must be one of ${matchable.join(", ")}`);
  return { options: { mode, matchBy, onDuplicate, dryRun, atomic }, isAsync: given.async ?? false };
}

/** The origin of work that continues after the response. */
export function originOf({ caller, requestId, ip, userAgent }: RequestContext): imports.ImportOrigin {
  const { userId, actorType, scope } = caller;
  const actor = { userId, ownOnly: scope === "own", readable: [...readableKinds(caller)] };
  return { caller: { userId, actorType }, requestId, ip, userAgent, actor };
}

function newImport(context: RequestContext, importer: Importer, options: ImportOptions): imports.Import {
  const origin = originOf(context);
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
    createdAt: context.now,
    finishedAt: null,
  };
}

type Commit = (bodyDigest: string, work: (tx: TenantTx) => Promise<Outcome<ImportResponse>>) => Promise<CommandResponse<ImportResponse>>;

/** Stages an upload, then commits the import's outcome, or that it is to be carried out later. */
export async function receive(
  context: RequestContext,
  importer: Importer,
  { upload, options, isAsync, requests }: Uploaded & { requests(): number },
  commit: Commit,
  wake: (tenantId: string) => void,
): Promise<CommandResponse<ImportResponse>> {
  const { tenant } = context;
  const begun = newImport(context, importer, options);
  let taken = false;
  try {
    await tenant.write((session) => session.commit(undefined, [imports.insert(session.tx, begun)], []));
    const staged = await putInStaging(tenant, begun, importer, upload, requests);
    upload.close();
    const job: imports.Import = {
      ...begun,
      columns: [...upload.headings()],
      total: staged.rows,
      failedRowsTruncated: staged.isTruncated,
      status: "queued",
    };
    const isPutOff = isAsync || job.total > synchronousRows || staged.writes > synchronousWrites;
    const result = await commit(upload.digest(), (tx) => (isPutOff ? putOff(tx, job) : carryOut(tx, importer, job, context)));
    taken = !result.replayed;
    if (taken && isPutOff) wake(tenant.tenantId);
    return result;
  } finally {
    upload.close();
    if (!taken) await discard(tenant, begun.importId, true);
  }
}

async function putOff(tx: TenantTx, job: imports.Import): Promise<Outcome<ImportResponse>> {
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

/** Carries out all rows at once, in the command's transaction. */
async function carryOut(tx: TenantTx, importer: Importer, job: imports.Import, context: RequestContext): Promise<Outcome<ImportResponse>> {
  await tx.begin();
  const { atomic, dryRun } = job.options;
  const apply = (write: boolean) => applyNext(tx, importer, job, 0, context.now, { ...batchSize.whole, write });
  const first = await apply(!atomic && !dryRun);
  let { counts } = first;
  if (atomic && !dryRun && counts.failed === 0) {
    ({ counts } = await apply(true));
    if (counts.failed > 0)
      throw new Problem("UNAVAILABLE", "Other requests are writing the same records; try again", { headers: { "retry-after": "1" } });
  }
  const finished = await finish(tx, { ...job, failedRowsTruncated: first.failedRowsTruncated }, counts, context.now);
  return { changes: [imports.save(tx, finished.job)], audit: finished.audit, body: reportOf(finished.job) };
}
