import { randomUUID } from "node:crypto";
import { createReadStream, createWriteStream } from "node:fs";
import { readFile, stat } from "node:fs/promises";
import { extname } from "node:path";
import { pipeline } from "node:stream/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { SingleBar } from "cli-progress";
import { type Import, importsGet } from "../../../openapi/client/index.ts";
import { ApiError, type ApiRequest, type Client } from "./client.ts";
import { type CommandResult, PartialFailure, printTable } from "./output.ts";

export interface ImportOptions {
  mode?: string;
  matchBy?: string;
  onDuplicate?: string;
  dryRun?: boolean;
  atomic?: boolean;
  errors?: string;
}

/** The response to an import's start has less than its report. */
type ImportReport = Pick<Import, "importId"> & Partial<Import>;

const cell = "/api/v1/crm";
const pollMs = 300;
const shownErrors = 20;

/** Imports a file and follows the import to its end. The exit code is 1 if rows failed; `watch` is the command that follows it again. */
export async function importCustomers(client: Client, file: string, options: ImportOptions, watch: WatchCommand): Promise<CommandResult> {
  const started = await client.json<ImportReport>(await importRequest(file, options));
  return finish(client, await follow(client, started, watch), options.errors);
}

/** Follows an import that was started before. */
export async function watchImport(
  client: Client,
  importId: string,
  options: { errors?: string },
  watch: WatchCommand,
): Promise<CommandResult> {
  return finish(client, await follow(client, await poll(client, importId), watch), options.errors);
}

/** The command line that follows an import. */
type WatchCommand = (importId: string) => string;

async function importRequest(file: string, options: ImportOptions): Promise<ApiRequest> {
  const { size } = await stat(file).catch((error) => {
    throw new ApiError(`${file} cannot be read: ${error.message}`, { cause: error });
  });
  const path = `${cell}/customers/import`;
  const { mode, matchBy, onDuplicate, dryRun, atomic } = options;
  const requestId = { "x-request-id": `crm-import-${randomUUID()}` };
  switch (extname(file).toLowerCase()) {
    case ".csv": {
      const query = { async: "true", mode, matchBy, onDuplicate, dryRun: dryRun ? "true" : undefined, atomic: atomic ? "true" : undefined };
      const headers = { ...requestId, "content-type": "text/csv", "content-length": String(size) };
      return { path, query, headers, body: createReadStream(file) };
    }
    case ".json": {
      const content = parseFile(file, await readFile(file, "utf8"));
      const items = Array.isArray(content) ? { items: content } : (content as object);
      return { path, headers: requestId, json: { async: true, mode, matchBy, onDuplicate, dryRun, atomic, ...items } };
    }
    default:
      throw new ApiError(`${file}: a .csv or .json file is needed`);
  }
}

function parseFile(file: string, text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new ApiError(`${file} is no JSON: ${(error as Error).message}`, { cause: error });
  }
}

function poll(client: Client, importId: string): Promise<ImportReport> {
  return client.typed((options) => importsGet({ ...options, path: { id: importId } }));
}

function isRunning({ status }: ImportReport): boolean {
  return status === "queued" || status === "running";
}

async function follow(client: Client, started: ImportReport, watch: WatchCommand): Promise<ImportReport> {
  const { importId } = started;
  const onInterrupt = () => {
    console.error(`\nThe import continues in the background. To follow it: ${watch(importId)}`);
    process.exit(130);
  };
  process.once("SIGINT", onInterrupt);
  const progress = showProgress();
  try {
    let report = started;
    while (isRunning(report)) {
      progress.show(report);
      await sleep(pollMs);
      report = await poll(client, importId);
    }
    progress.show(report);
    return report;
  } finally {
    progress.stop();
    process.off("SIGINT", onInterrupt);
  }
}

/** A progress bar on a terminal, a line per second elsewhere; on stderr, since stdout is for the result. */
function showProgress(): { show(report: ImportReport): void; stop(): void } {
  if (process.stderr.isTTY) {
    const bar = new SingleBar({ format: "{bar} {percentage}% | {value} of {total} rows | {eta_formatted} left" });
    bar.start(1, 0);
    return {
      show({ total, done }) {
        if (total) bar.setTotal(total);
        bar.update(done ?? 0);
      },
      stop: () => bar.stop(),
    };
  }
  let shownAtMs = 0;
  return {
    show({ status, total, done }) {
      if (Date.now() - shownAtMs < 1_000) return;
      shownAtMs = Date.now();
      console.error(total ? `${status ?? "completed"}: ${done ?? total} of ${total} rows` : (status ?? "completed"));
    },
    stop: () => undefined,
  };
}

async function finish(client: Client, report: ImportReport, errorFile: string | undefined): Promise<CommandResult> {
  const { status = "completed", failed = 0, errorFileUrl } = report;
  const isSaved = failed > 0 && errorFile !== undefined && Boolean(errorFileUrl);
  if (isSaved) await saveErrors(client, String(errorFileUrl), errorFile);
  const show = () => {
    printReport(report);
    if (isSaved) console.log(`The failed rows are in ${errorFile}: correct them and import them again.`);
    if (report.errorFileTruncated) console.log("The file only has the first failed rows: there were too many, or too large ones.");
  };
  const result: CommandResult = { data: report, show, exitCode: failed > 0 ? 1 : 0 };
  if (status === "failed") throw new PartialFailure(new ApiError("The import failed as a whole; see above"), result);
  return result;
}

function printReport(report: ImportReport): void {
  const { importId, status = "completed", created = 0, updated = 0, skipped = 0, failed = 0 } = report;
  console.log(`Import ${importId}: ${status}${report.dryRun ? " (a dry run: nothing was written)" : ""}`);
  printTable(
    ["ROWS", "COUNT"],
    [
      ["created", created],
      ["updated", updated],
      ["skipped", skipped],
      ["failed", failed],
      ["total", report.total ?? created + updated + skipped + failed],
    ],
  );
  printErrors(report);
}

function printErrors({ errors = [], errorsTruncated = false }: ImportReport): void {
  if (errors.length === 0) return;
  console.log("");
  const shown = errors.slice(0, shownErrors);
  printTable(
    ["ROW", "FIELD", "CODE", "MESSAGE"],
    shown.map(({ row, field, code, message }) => [row, field, code, message]),
  );
  if (errorsTruncated || errors.length > shown.length) console.log("… and more; --errors <file.csv> saves all failed rows");
}

async function saveErrors(client: Client, errorFileUrl: string, file: string): Promise<void> {
  const { pathname, search } = new URL(errorFileUrl, "http://gateway");
  const path = pathname.startsWith("/api/") ? pathname : cell + pathname;
  const { body } = await client.stream({ path: path + search });
  await pipeline(body, createWriteStream(file));
}
