import type { Permission } from "@cell/http";
import type { Tenant } from "@cell/postgres";
import { badFields } from "@cell/problem";
import { v7 as uuidv7 } from "uuid";
import { z } from "zod";
import type { AuditDraft } from "../audit/entries.ts";
import type { Cell } from "../cell-types.ts";
import { endpoint, type RequestContext } from "../http/endpoint.ts";
import type { Condition } from "../lists/conditions.ts";
import { maskedFilter, maskedKeyword } from "../lists/filter-masking.ts";
import { booleanParam } from "../lists/list-parameters.ts";
import { type ListQuery, listQuery, listResponse } from "../lists/list-query.ts";
import { revealedBy } from "../lists/list-response.ts";
import type { ListRunner } from "../lists/lists.ts";
import { fieldAccess } from "../schema/masking.ts";
import { listOf } from "../schema/resource.ts";
import { csvLine } from "./csv.ts";
import { type CopiedOptions, copiedCsvFile, copiedFields } from "./export-file.ts";

const exportQuery = listQuery.extend({
  format: z.enum(["json", "csv"]).optional().meta({ description: "json (default): a page like the list's; csv: all matches in one file" }),
  bom: booleanParam().optional().meta({ description: "`false` leaves out the byte order mark, which Excel needs" }),
});
type ExportContext = RequestContext<unknown, z.infer<typeof exportQuery>, unknown>;

/** Parameters of a page, which a file does not have. */
const pageParameters = ["page", "pageSize", "cursor", "total"] as const;

/** A list's own query parameters, and their conditions. */
export interface OwnParameters {
  shape: z.ZodRawShape;
  /** `query`: what `shape` makes of the parameters. */
  conditions(query: never, tenant: Tenant): Promise<Condition[]>;
}

export interface ExportOptions<Row extends object> {
  /** Of the list, such as `/customers`. */
  path: string;
  permission: Permission;
  lists: ListRunner<Row>;
  /** The types of fields that the list does not have; default: none. */
  fields?: CopiedOptions["types"];
  own?: OwnParameters;
}

/** The export of a resource: `GET <path>/export`. */
export function exportRoutes<Row extends object>({ path, permission, lists, fields, own }: ExportOptions<Row>): (cell: Cell) => void {
  // The route below parses its query by this very shape.
  const conditions = ({ query, tenant }: ExportContext) => own?.conditions(query as never, tenant) ?? [];
  const { resource, responseKind } = lists.definition;
  const known = Object.entries(lists.definition.fields).map(([field, { type }]) => [field, type] as const);
  const types: CopiedOptions["types"] = { ...Object.fromEntries(known), ...fields };
  const exportRecords = endpoint({
    method: "get",
    path: `${path}/export`,
    permission,
    gateway: { slow: true, bulkhead: "streams" },
    tag: "Exports",
    summary: `Export ${path.slice(1)}`,
    description: `The list's filters, order, visibility and masking. The CSV file (RFC 4180, UTF-8) is read from one snapshot, so that
concurrent writes do not change it. A text that begins like a formula gets a leading quote; tags are separated by \`;\`. Every export has one audit entry, with the fields that \`reveal\` names.`,
    // A list's own parameters concern its own conditions only: everything else sees the common ones.
    query: own ? (exportQuery.extend(own.shape) as unknown as typeof exportQuery) : exportQuery,
    status: 200,
    response: listOf(resource, listResponse(resource)),
    produces: ["text/csv"],
    example: { file: csvLine(resource.fields) },
  });

  const file = async (cell: Cell, call: ExportContext, headers: Record<string, string>) => {
    const { format, bom, ...query } = call.query;
    if (format !== "csv") return undefined;
    const refused = pageParameters.filter((name) => query[name] !== undefined);
    if (refused.length > 0) {
      throw badFields(refused.map((name) => ({ path: name, code: "INVALID_FORMAT", message: "belongs to a page: not with format=csv" })));
    }
    const cleared = fieldAccess(call.caller, responseKind ?? "list", revealedBy(query.reveal, resource.sensitive, call.caller).fields);
    const { statement, values } = lists.all(await lists.resolve(call.tenant, query, call.caller, await conditions(call)));
    const options: CopiedOptions = {
      resource,
      types,
      fieldAccess: cleared,
      tenantId: call.tenant.tenantId,
      bom: bom !== false,
      ended: (sent, completed) => cell.record(call, [draftOf(call, lists, sent, completed)]),
    };
    return cell.file(call, headers, {
      name: `${path.slice(1)}-${call.now.slice(0, 10)}.csv`,
      pieces: (signal) => copiedCsvFile(call.tenant.reader().copy(statement, values, copiedFields(resource, cleared), signal), options),
    });
  };

  return (cell) => {
    cell.list(exportRecords, lists, {
      conditions,
      stream: (context, headers) => file(cell, context, headers),
      auditsReveal: true,
      async extra(context, page) {
        await cell.record(context, [draftOf(context, lists, page.length, true)]);
        return {};
      },
    });
  };
}

/** The audit entry of an export: its query and its number of rows; values of sensitive fields in the query are masked. */
function draftOf<Row extends object>({ query }: ExportContext, lists: ListRunner<Row>, rows: number, completed: boolean): AuditDraft {
  const { resource, fields: filtered } = lists.definition;
  const { type, fields, sensitive } = resource;
  const { format = "json", bom: _bom, ...asked } = query satisfies ListQuery & ExportContext["query"];
  if (asked.filter !== undefined) asked.filter = maskedFilter(asked.filter, { fields: filtered, kinds: sensitive });
  if (asked.keyword !== undefined) asked.keyword = maskedKeyword(asked.keyword);
  const recorded = { format, ...asked, fields, rows, completed };
  const changes = Object.entries(recorded).flatMap(([field, after]) => (after === undefined ? [] : { field, before: null, after }));
  return { action: "export", resourceType: type, resourceId: uuidv7(), resourceName: null, resourceVersion: null, changes };
}
