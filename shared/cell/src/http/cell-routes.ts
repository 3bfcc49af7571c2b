import type { ServerResponse } from "node:http";
import { latin1, readRequestId, sendWhenReady, sendWhole } from "@cell/http";
import { headerOf } from "@cell/http/endpoint/input";
import { Rows } from "@cell/postgres";
import { badField, Problem } from "@cell/problem";
import { type AuditDraft, auditEntry } from "../audit/entries.ts";
import type { Cell, CellOptions } from "../cell-types.ts";
import { type CommandOptions, command } from "../commands/command.ts";
import type { CommandResponse } from "../commands/idempotency.ts";
import { StorageQuota } from "../commands/storage-quota.ts";
import { Files } from "../csv/file-limits.ts";
import { Cursors } from "../lists/cursor.ts";
import { listPage } from "../lists/list-response.ts";
import { rowsWriter } from "../lists/rows-json.ts";
import { fieldAccess } from "../schema/masking.ts";
import type { Presenter } from "../schema/resource.ts";
import { settingsOf } from "../settings/stored.ts";
import { withDeadline } from "./deadline.ts";
import type { Endpoint, RequestContext, RequestContextOf, RowOf } from "./endpoint.ts";

/** Adds a route to the application. */
export type Register = (
  endpoint: Endpoint,
  handle: (context: RequestContext, headers: Record<string, string>) => Promise<Response>,
) => void;

/** The ways to create routes, each with its policies. */
export function routesOf(
  { assertionKeys, committed, log, registry, files: limits, longResponseMs }: CellOptions,
  requests: () => number,
  register: Register,
): Omit<Cell, "events"> {
  const quota = new StorageQuota(registry);
  const files = new Files(limits);
  const cursors = new Cursors(assertionKeys);
  const inTime: Cell["inTime"] = (context, work) =>
    withDeadline(longResponseMs, (deadlineAtMs) => work(context.tenant.reader(deadlineAtMs)));
  const record = async (context: RequestContext, drafts: AuditDraft[]): Promise<void> => {
    const entries = drafts.map((draft) => auditEntry(context, draft));
    await context.tenant.write((session) => session.commit(undefined, [], entries));
    committed(context.tenant.tenantId);
  };
  return {
    record,
    later(what, work) {
      void work().catch((err) => log.warn({ err }, `${what} failed`));
    },
    requests,
    inTime,
    file: (context, headers, file) => files.send(context, headers, file),
    read(endpoint, what, read) {
      const { response, status, versioned, isLong, isPatient } = endpoint;
      const found = async (context: RequestContext): Promise<object> => {
        const row: object | undefined = await (isLong
          ? inTime(context, (tenant) => read(contextOf(endpoint, context), tenant))
          : read(contextOf(endpoint, context), context.tenant.reader()));
        if (!row || (row instanceof Rows && row.length === 0)) throw new Problem("NOT_FOUND", `${what} not found`);
        return row;
      };
      const bodyOf = (context: RequestContext, row: object) => {
        const cleared = fieldAccess(context.caller, "detail");
        const { tenantId } = context.tenant;
        return row instanceof Rows
          ? rowsWriter.first(response, row, cleared, tenantId)
          : latin1(JSON.stringify(response.present(row, cleared, tenantId)));
      };
      register(endpoint, async (context, headers) => {
        if (isPatient) {
          const body = found(context).then((row) => bodyOf(context, row));
          return sendWhenReady(outgoingOf(context), status, headers, body);
        }
        const row = await found(context);
        if (versioned) {
          const tag = etag(row instanceof Rows ? row.value(0, "version") : (row as { version?: number }).version);
          headers.etag = tag;
          if (isAmong(tag, headerOf(context.context, "if-none-match"))) return new Response(null, { status: 304, headers });
        }
        return sendWhole(outgoingOf(context), status, headers, bodyOf(context, row));
      });
    },
    list(endpoint, lists, listOptions = {}) {
      register(endpoint, async (context, headers) => {
        const typed = contextOf(endpoint, context);
        const streamed = await listOptions.stream?.(typed, headers);
        if (streamed) return streamed;
        const body = await listPage(typed, lists, listOptions, record, cursors);
        return sendWhole(outgoingOf(context), 200, headers, body);
      });
    },
    command(endpoint, work) {
      if (!endpoint.visibility) throw new Error(`${endpoint.method} ${endpoint.path} does not declare who may see its record`);
      register(endpoint, async (context, headers) => {
        const options = await commandOptions(context, endpoint, quota);
        const result = await command(context, presenterOf(endpoint), options, (tx) => work(contextOf(endpoint, context), tx));
        return respondToCommand(context, endpoint, result, headers, committed);
      });
    },
    stream(endpoint, response) {
      register(endpoint, (context, headers) => response(contextOf(endpoint, context), headers));
    },
    upload(endpoint, receive) {
      register(endpoint, async (context, headers) => {
        const result = await receive(contextOf(endpoint, context), async (bodyDigest, work) => {
          const options = { ...(await commandOptions(context, endpoint, quota)), bodyDigest };
          return command(context, presenterOf(endpoint), options, work);
        });
        return respondToCommand(context, endpoint, result, headers, committed);
      });
    },
  };
}

/** The request as the endpoint's schemas have parsed it: `Handlers` does so before any handler runs. */
function contextOf<E extends Endpoint>(_endpoint: E, context: RequestContext): RequestContextOf<E> {
  return context as RequestContextOf<E>;
}

/** An endpoint's presenter, of the rows that its handler returns. */
function presenterOf<E extends Endpoint>(endpoint: E): Presenter<RowOf<E>> {
  return endpoint.response as Presenter<RowOf<E>>;
}

async function commandOptions(context: RequestContext, endpoint: Endpoint, quota: StorageQuota): Promise<CommandOptions> {
  const { status } = endpoint;
  const settings = await settingsOf(context.tenant);
  const key = idempotencyKey(context);
  if (key === undefined && settings.requireRequestId === true) {
    throw badField("X-Request-ID", "REQUIRED", "is required by this tenant, so that no retry creates a record twice");
  }
  const mode = headerOf(context.context, "x-idempotency-mode");
  if (mode !== undefined && mode !== "reject" && mode !== "replay")
    throw badField("X-Idempotency-Mode", "INVALID_ENUM", "must be replay or reject");
  const rejectRepeats = (mode ?? settings.idempotencyMode) === "reject";
  const isLimited = context.caller.quotaBytes !== undefined && endpoint.method !== "delete" && !endpoint.frees;
  const assertRoom = isLimited ? () => quota.assertRoom(context) : undefined;
  return { key, rejectRepeats, status, visibility: endpoint.visibility, serialKey: serialKeyOf(context, endpoint), assertRoom };
}

function serialKeyOf(context: RequestContext, { serialKey }: Endpoint): string | undefined {
  return serialKey === undefined ? undefined : (context.body as Record<string, string>)[serialKey];
}

/** The idempotency key: `Idempotency-Key`, else the caller's X-Request-ID. An id that the gateway generated is not a key. */
function idempotencyKey(context: RequestContext): string | undefined {
  return (
    readRequestId("Idempotency-Key", headerOf(context.context, "idempotency-key")) ??
    (context.requestIdIsKey ? context.requestId : undefined)
  );
}

function respondToCommand(
  context: RequestContext,
  endpoint: Endpoint,
  result: CommandResponse<object>,
  headers: Record<string, string>,
  committed: (tenantId: string) => void,
): Response {
  if (result.replayed) headers["idempotency-replayed"] = "true";
  else committed(context.tenant.tenantId);
  const cleared = fieldAccess(context.caller, "list");
  const { written = {} } = result;
  if (written.fieldAccess !== cleared || written.text === undefined) {
    const { body } = result;
    written.fieldAccess = cleared;
    written.headers = endpoint.versioned && "version" in body ? { etag: etag(body.version) } : {};
    written.text = latin1(JSON.stringify(endpoint.response.present(body, cleared, context.tenant.tenantId)));
  }
  return sendWhole(outgoingOf(context), result.status, { ...headers, ...written.headers }, written.text);
}

/** Whether `If-None-Match` names a tag: alone, in a list, or weak, as proxies that compress make it (RFC 9110, 13.1.2). */
function isAmong(tag: string, header: string | undefined): boolean {
  if (header === undefined || header === tag) return header !== undefined;
  return header.split(",").some((part) => part.trim() === "*" || part.trim().replace(/^W\//, "") === tag);
}

function etag(version: unknown): string {
  return `"${version}"`;
}

function outgoingOf({ context }: RequestContext): ServerResponse {
  return context.env.outgoing;
}
