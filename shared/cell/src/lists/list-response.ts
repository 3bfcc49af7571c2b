import type { Principal } from "@cell/http";
import type { Rows } from "@cell/postgres";
import { badField } from "@cell/problem";
import { type AuditDraft, audited as auditedRecord } from "../audit/entries.ts";
import { type RequestContext, requirePermission } from "../http/endpoint.ts";
import { fieldAccess, type SensitiveKind } from "../schema/masking.ts";
import type { Resource } from "../schema/resource.ts";
import type { Condition } from "./conditions.ts";
import type { Cursors } from "./cursor.ts";
import type { ListQuery } from "./list-query.ts";
import type { ListRequest } from "./list-types.ts";
import type { ListRunner } from "./lists.ts";
import { rowsWriter } from "./rows-json.ts";

export interface ListOptions<C, Row> {
  /** Conditions of the list's own parameters. */
  conditions?(call: C): Condition[] | Promise<Condition[]>;
  /** Responds in another form if the query asks for one, such as a CSV file; undefined: responds with the page. */
  stream?(call: C, headers: Record<string, string>): Promise<Response | undefined>;
  /** Further fields of the response, such as totals over all matches of `request`. */
  extra?(call: C, page: Rows<Row>, request: ListRequest): Promise<object>;
  /** Revealed fields are audited by an entry of the response itself, such as an export's, instead of one per record. */
  auditsReveal?: boolean;
}

/** The fields that a request reveals. */
export interface Revealed {
  /** All fields that `reveal` unmasks. */
  fields: ReadonlySet<string>;
  /** Those that the audit trail has to name. */
  audited: readonly string[];
}

const nothing: Revealed = { fields: new Set(), audited: [] };
/** In `reveal`, it stands for every amount. */
const everyAmount = "amount";

/**
 * Parses `reveal`: comma-separated names of sensitive fields; `amount` for all amounts and the figures derived from them. Amounts need
 * amount:read and no audit entry, since each record shows them; all others need pii:reveal and an entry. Throws BAD_REQUEST and FORBIDDEN.
 */
export function revealedBy(
  reveal: string | undefined,
  sensitive: Readonly<Record<string, SensitiveKind>>,
  caller: Pick<Principal, "permissions">,
): Revealed {
  if (reveal === undefined) return nothing;
  const amounts = Object.keys(sensitive).filter((field) => sensitive[field] === "amount");
  const fields = new Set<string>();
  const audited: string[] = [];
  for (const name of reveal.split(",").map((part) => part.trim())) {
    if (name === everyAmount && amounts.length > 0) for (const field of amounts) fields.add(field);
    else if (!Object.hasOwn(sensitive, name))
      throw badField("reveal", "INVALID_ENUM", `takes ${Object.keys(sensitive).join(", ") || "nothing here"}`);
    else fields.add(name);
  }
  for (const field of fields) if (sensitive[field] !== "amount") audited.push(field);
  if (audited.length < fields.size) requirePermission(caller, "amount:read");
  if (audited.length > 0) requirePermission(caller, "pii:reveal");
  return { fields, audited };
}

/** The audit entries of records with revealed fields; none if no field is audited. */
export function revealDrafts<Row extends object>(resource: Resource<Row>, rows: readonly Row[], audited: readonly string[]): AuditDraft[] {
  if (audited.length === 0) return [];
  const changes = audited.map((field) => ({ field, before: null, after: null }));
  return rows.map((row) => ({ ...auditedRecord("reveal", resource, row, row), changes }));
}

/** A page of a list in JSON and Latin-1, masked for its caller; revealed fields are in the audit trail before it is sent. */
export async function listPage<C extends RequestContext, Row extends object>(
  context: C,
  lists: ListRunner<Row>,
  options: ListOptions<C, Row>,
  record: (context: RequestContext, drafts: AuditDraft[]) => Promise<void>,
  cursors: Cursors,
): Promise<string> {
  const { resource } = lists.definition;
  const query = context.query as ListQuery;
  const revealed = revealedBy(query.reveal, resource.sensitive, context.caller);
  const request = await lists.resolve(context.tenant, query, context.caller, (await options.conditions?.(context)) ?? []);
  const found = await lists.page(context.tenant.reader(), request, query, cursors);
  const { rows, total, totalIsLowerBound, page, pageSize, nextCursor } = found;
  const drafts = options.auditsReveal || revealed.audited.length === 0 ? [] : revealDrafts(resource, rows.objects(), revealed.audited);
  if (drafts.length > 0) await record(context, drafts);
  const cleared = fieldAccess(context.caller, lists.definition.responseKind ?? "list", revealed.fields);
  const extra = await options.extra?.(context, rows, request);
  const bound = totalIsLowerBound ? { totalIsLowerBound } : {};
  return rowsWriter.list(resource, rows, cleared, context.tenant.tenantId, { total, ...bound, page, pageSize, nextCursor, ...extra });
}
