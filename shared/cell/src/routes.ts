import { readRequestId } from "@cell/http";
import { badField, Problem } from "@cell/problem";
import { type AuditDraft, auditEntry } from "./audit.ts";
import type { Cell, CellOptions, CommandAnswer } from "./cell.ts";
import { type CommandOptions, command } from "./command.ts";
import type { Call, Endpoint } from "./endpoint.ts";
import type { ListQuery } from "./listing.ts";
import { clearance } from "./masking.ts";
import { answerList, type ListOptions } from "./reveal.ts";
import { settingsOf } from "./settings.ts";

/** Puts a route into the application and the document. */
export type Register = (endpoint: Endpoint, handle: (call: Call, headers: Record<string, string>) => Promise<Response>) => void;

/** The ways in which a slice can make routes, each with its policies. */
export function routesOf({ committed }: CellOptions, requests: () => number, register: Register): Cell {
  const record = async (call: Call, drafts: AuditDraft[]): Promise<void> => {
    const entries = drafts.map((draft) => auditEntry(call, draft));
    await call.tenant.write((session) => session.commit(undefined, [], entries));
    committed(call.tenant.tenantId);
  };
  return {
    record,
    requests,
    read(endpoint, what, read) {
      register(endpoint, async (call, headers) => {
        const row = await read(call as never, call.tenant.reader());
        if (!row) throw new Problem("NOT_FOUND", `${what} not found`);
        if (endpoint.versioned) {
          const tag = etag(row);
          headers.etag = tag;
          if (call.context.req.header("if-none-match") === tag) return new Response(null, { status: 304, headers });
        }
        return json(endpoint.answer.present(row, clearance(call.caller, "detail"), call.tenant.tenantId), endpoint.status, headers);
      });
    },
    list(endpoint, lists, listOptions = {}) {
      register(endpoint, async (call, headers) => {
        const streamed = await listOptions.stream?.(call as never, headers);
        if (streamed) return streamed;
        const body = await answerList(call as Call<unknown, ListQuery, unknown>, lists, listOptions as ListOptions<never, never>, record);
        return new Response(body as Uint8Array<ArrayBuffer>, { status: 200, headers });
      });
    },
    command(endpoint, work) {
      register(endpoint, async (call, headers) => {
        const result = await command<never>(
          call,
          endpoint.answer as never,
          await commandOptions(call, endpoint),
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
          command<never>(call, endpoint.answer as never, { ...(await commandOptions(call, endpoint)), bodyDigest }, work as never),
        );
        return answerCommand(call, endpoint, result, headers, committed);
      });
    },
  };
}

async function commandOptions(call: Call, endpoint: Endpoint): Promise<CommandOptions> {
  const { status } = endpoint;
  // DELETE is idempotent by itself: a request id only correlates there.
  if (endpoint.method === "delete") return { key: undefined, rejectRepeats: false, status };
  const settings = await settingsOf(call.tenant);
  const key = idempotencyKey(call);
  if (key === undefined && settings.requireRequestId === true) {
    throw badField("X-Request-ID", "REQUIRED", "is required by this tenant, so that no retry makes a thing twice");
  }
  const mode = call.context.req.header("x-idempotency-mode");
  if (mode !== undefined && mode !== "reject" && mode !== "replay")
    throw badField("X-Idempotency-Mode", "INVALID_ENUM", "must be replay or reject");
  return { key, rejectRepeats: (mode ?? settings.idempotencyMode) === "reject", status, turn: turnOf(call, endpoint) };
}

function turnOf({ body }: Call, { turn }: Endpoint): string | undefined {
  return turn === undefined ? undefined : (body as Record<string, string>)[turn];
}

/** The caller's key: `Idempotency-Key`, else its X-Request-ID. An id that the gateway made is none. */
function idempotencyKey(call: Call): string | undefined {
  return (
    readRequestId("Idempotency-Key", call.context.req.header("idempotency-key")) ??
    (call.context.get("requestIdIsKey") === true ? call.requestId : undefined)
  );
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
  if (endpoint.versioned && "version" in result.body) headers.etag = etag(result.body);
  return json(endpoint.answer.present(result.body, clearance(call.caller, "list"), call.tenant.tenantId), result.status, headers);
}

function etag(row: object): string {
  return `"${(row as { version?: number }).version}"`;
}

function json(body: object, status: number, headers: Record<string, string>): Response {
  return new Response(JSON.stringify(body), { status, headers });
}
