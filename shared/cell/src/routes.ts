import type { ServerResponse } from "node:http";
import { latin1, readRequestId, sendWhenReady, sendWhole } from "@cell/http";
import { Rows } from "@cell/postgres";
import { badField, Problem } from "@cell/problem";
import { type AuditDraft, auditEntry } from "./audit.ts";
import type { Cell, CellOptions } from "./cell.ts";
import { type CommandOptions, command } from "./command.ts";
import { Cursors } from "./cursor.ts";
import { withDeadline } from "./deadline.ts";
import { type Call, type Endpoint, headerOf } from "./endpoint.ts";
import { Files } from "./files.ts";
import { rowJson } from "./json-rows.ts";
import type { CommandAnswer } from "./kept-answers.ts";
import type { Listing, ListQuery } from "./listing.ts";
import { clearance } from "./masking.ts";
import { StorageQuota } from "./quota.ts";
import { answerList, type ListOptions } from "./reveal.ts";
import { settingsOf } from "./settings.ts";

/** Puts a route into the application and the document; `listing`: the list that it answers. */
export type Register = (
  endpoint: Endpoint,
  handle: (call: Call, headers: Record<string, string>) => Promise<Response>,
  listing?: Listing<never>,
) => void;

/** The ways in which a slice can make routes, each with its policies. */
export function routesOf(
  { assertionKeys, committed, log, registry, files: limits, longAnswerMs }: CellOptions,
  requests: () => number,
  register: Register,
): Omit<Cell, "events"> {
  const quota = new StorageQuota(registry);
  const files = new Files(limits);
  const cursors = new Cursors(assertionKeys);
  const inTime: Cell["inTime"] = (call, work) => withDeadline(longAnswerMs, (deadlineAtMs) => work(call.tenant.reader(deadlineAtMs)));
  const record = async (call: Call, drafts: AuditDraft[]): Promise<void> => {
    const entries = drafts.map((draft) => auditEntry(call, draft));
    await call.tenant.write((session) => session.commit(undefined, [], entries));
    committed(call.tenant.tenantId);
  };
  return {
    record,
    later(what, work) {
      void work().catch((err) => log.warn({ err }, `${what} failed`));
    },
    requests,
    inTime,
    file: (call, headers, file) => files.send(call, headers, file),
    read(endpoint, what, read) {
      const { answer, status, versioned, isLong, isPatient } = endpoint;
      const found = async (call: Call): Promise<object> => {
        const row: object | undefined = await (isLong
          ? inTime(call, (tenant) => read(call as never, tenant))
          : read(call as never, call.tenant.reader()));
        if (!row || (row instanceof Rows && row.length === 0)) throw new Problem("NOT_FOUND", `${what} not found`);
        return row;
      };
      const bodyOf = (call: Call, row: object) => {
        const cleared = clearance(call.caller, "detail");
        const { tenantId } = call.tenant;
        return row instanceof Rows
          ? rowJson(answer, row, cleared, tenantId)
          : latin1(JSON.stringify(answer.present(row as never, cleared, tenantId)));
      };
      register(endpoint, async (call, headers) => {
        if (isPatient) {
          const body = found(call).then((row) => bodyOf(call, row));
          return sendWhenReady(outgoingOf(call), status, headers, body);
        }
        const row = await found(call);
        if (versioned) {
          const tag = etag(row instanceof Rows ? row.value(0, "version") : (row as { version?: number }).version);
          headers.etag = tag;
          if (headerOf(call.context, "if-none-match") === tag) return new Response(null, { status: 304, headers });
        }
        return sendWhole(outgoingOf(call), status, headers, bodyOf(call, row));
      });
    },
    list(endpoint, lists, listOptions = {}) {
      register(
        endpoint,
        async (call, headers) => {
          const streamed = await listOptions.stream?.(call as never, headers);
          if (streamed) return streamed;
          const options = listOptions as ListOptions<never, never>;
          const body = await answerList(call as Call<unknown, ListQuery, unknown>, lists, options, record, cursors);
          return sendWhole(outgoingOf(call), 200, headers, body);
        },
        lists.listing as unknown as Listing<never>,
      );
    },
    command(endpoint, work) {
      if (!endpoint.sight) throw new Error(`${endpoint.method} ${endpoint.path} does not say who sees its record`);
      register(endpoint, async (call, headers) => {
        const result = await command<never>(
          call,
          endpoint.answer as never,
          await commandOptions(call, endpoint, quota),
          (tx) => work(call as never, tx) as never,
        );
        return answerCommand(call, endpoint, result, headers, committed);
      });
    },
    stream(endpoint, answer) {
      register(endpoint, (call, headers) => answer(call as never, headers));
    },
    upload(endpoint, receive) {
      register(endpoint, async (call, headers) => {
        const result = await receive(call as never, async (bodyDigest, work) =>
          command<never>(call, endpoint.answer as never, { ...(await commandOptions(call, endpoint, quota)), bodyDigest }, work as never),
        );
        return answerCommand(call, endpoint, result, headers, committed);
      });
    },
  };
}

async function commandOptions(call: Call, endpoint: Endpoint, quota: StorageQuota): Promise<CommandOptions> {
  const { status } = endpoint;
  const settings = await settingsOf(call.tenant);
  const key = idempotencyKey(call);
  if (key === undefined && settings.requireRequestId === true) {
    throw badField("X-Request-ID", "REQUIRED", "is required by this tenant, so that no retry makes a thing twice");
  }
  const mode = headerOf(call.context, "x-idempotency-mode");
  if (mode !== undefined && mode !== "reject" && mode !== "replay")
    throw badField("X-Idempotency-Mode", "INVALID_ENUM", "must be replay or reject");
  const rejectRepeats = (mode ?? settings.idempotencyMode) === "reject";
  const isLimited = call.caller.quotaBytes !== undefined && endpoint.method !== "delete" && !endpoint.frees;
  const assertRoom = isLimited ? () => quota.assertRoom(call) : undefined;
  return { key, rejectRepeats, status, sight: endpoint.sight, turn: turnOf(call, endpoint), assertRoom };
}

function turnOf(call: Call, { turn }: Endpoint): string | undefined {
  return turn === undefined ? undefined : (call.body as Record<string, string>)[turn];
}

/** The caller's key: `Idempotency-Key`, else its X-Request-ID. An id that the gateway made is none. */
function idempotencyKey(call: Call): string | undefined {
  return readRequestId("Idempotency-Key", headerOf(call.context, "idempotency-key")) ?? (call.requestIdIsKey ? call.requestId : undefined);
}

function answerCommand(
  call: Call,
  endpoint: Endpoint,
  result: CommandAnswer<object>,
  headers: Record<string, string>,
  committed: (tenantId: string) => void,
): Response {
  if (result.replayed) headers["idempotency-replayed"] = "true";
  else committed(call.tenant.tenantId);
  const cleared = clearance(call.caller, "list");
  const { written = {} } = result;
  if (written.clearance !== cleared || written.text === undefined) {
    const { body } = result;
    written.clearance = cleared;
    written.headers = endpoint.versioned && "version" in body ? { etag: etag(body.version) } : {};
    written.text = latin1(JSON.stringify(endpoint.answer.present(body, cleared, call.tenant.tenantId)));
  }
  return sendWhole(outgoingOf(call), result.status, { ...headers, ...written.headers }, written.text);
}

function etag(version: unknown): string {
  return `"${version}"`;
}

function outgoingOf({ context }: Call): ServerResponse {
  return context.env.outgoing;
}
