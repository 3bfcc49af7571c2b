import type { Rows } from "@cell/postgres";
import { badField, Problem } from "@cell/problem";
import { type AuditDraft, audited } from "./audit.ts";
import type { Call } from "./endpoint.ts";
import type { Condition } from "./filter.ts";
import { listJson } from "./json-rows.ts";
import type { ListQuery, ListRequest, Lists } from "./listing.ts";
import { clearance } from "./masking.ts";

export interface ListOptions<C, Row> {
  /** Conditions out of parameters of the list's own. */
  conditions?(call: C): Condition[] | Promise<Condition[]>;
  /** The answer in another form where the query asks for one, such as a CSV file; undefined answers the page. */
  stream?(call: C, headers: Record<string, string>): Promise<Response | undefined>;
  /** What the answer carries besides the page, such as totals over all that `request` matches. */
  extra?(call: C, page: Rows<Row>, request: ListRequest): Promise<object>;
}

/** A page of a list in JSON and Latin-1, as its caller may see it; what `?reveal=` clears is in the audit trail before it leaves. */
export async function answerList<Row extends object>(
  call: Call<unknown, ListQuery, unknown>,
  lists: Lists<Row>,
  options: ListOptions<Call<unknown, ListQuery, unknown>, Row>,
  record: (call: Call, drafts: AuditDraft[]) => Promise<void>,
): Promise<string> {
  const { resource } = lists.listing;
  const revealed = revealedFields(call, resource.sensitive);
  const request = lists.resolve(call.query, call.caller, (await options.conditions?.(call)) ?? []);
  const { rows, total, totalIsLowerBound, page, pageSize, nextCursor } = await lists.page(call.tenant.reader(), request, call.query);
  if (revealed.size > 0 && rows.length > 0) await record(call, revealDrafts(lists.listing, rows.objects(), revealed));
  const cleared = clearance(call.caller, lists.listing.exposure ?? "list", revealed);
  const extra = await options.extra?.(call, rows, request);
  const bound = totalIsLowerBound ? { totalIsLowerBound } : {};
  return listJson(resource, rows, cleared, call.tenant.tenantId, { total, ...bound, page, pageSize, nextCursor, ...extra });
}

function revealedFields(call: Call<unknown, ListQuery, unknown>, sensitive: Readonly<Record<string, unknown>>): ReadonlySet<string> {
  const { reveal } = call.query;
  if (reveal === undefined) return new Set();
  const fields = reveal.split(",").map((field) => field.trim());
  for (const field of fields) {
    if (!Object.hasOwn(sensitive, field))
      throw badField("reveal", "INVALID_ENUM", `takes ${Object.keys(sensitive).join(", ") || "nothing here"}`);
  }
  if (!call.caller.permissions.includes("pii:reveal")) throw new Problem("FORBIDDEN", "This needs the permission pii:reveal");
  return new Set(fields);
}

function revealDrafts<Row extends object>({ resource }: Lists<Row>["listing"], rows: Row[], revealed: ReadonlySet<string>): AuditDraft[] {
  const changes = [...revealed].map((field) => ({ field, before: null, after: null }));
  return rows.map((row) => ({ ...audited("reveal", resource, row, row), changes }));
}
