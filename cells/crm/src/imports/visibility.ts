import { type CommandResponse, type RequestContext, readableKinds } from "@cell/cell";
import { readableIds } from "../visibility.ts";
import { shownHeading } from "./hidden.ts";
import type { Importer } from "./importer.ts";
import type { ImportReport, ImportRevert } from "./schema.ts";

/** A response with its body as the caller may see it now: a replay may come after its permissions were reduced. */
export async function withVisibleBody<Body extends object>(
  response: CommandResponse<Body>,
  see: (body: Body) => Promise<Body>,
): Promise<CommandResponse<Body>> {
  const { status, body, replayed } = response;
  const seen = await see(body);
  return seen === body ? response : { status, body: seen, replayed };
}

/** A report that names no record that its reader may not see. */
export async function visibleReport<Report extends Partial<ImportReport>>(
  context: RequestContext,
  importer: Importer,
  report: Report,
): Promise<Report> {
  const { errors = [] } = report;
  const heading = (field: string | null) => field && shownHeading(field, importer.sensitive, readableKinds(context.caller));
  const unseen = await unseenOf(
    context,
    importer,
    errors.flatMap(({ duplicateOf }) => (typeof duplicateOf === "string" ? duplicateOf : [])),
  );
  const isShown = ({ field, duplicateOf }: ImportReport["errors"][number]) => !unseen.has(duplicateOf) && heading(field) === field;
  if (errors.every(isShown)) return report;
  const shown = errors.map((error) => ({
    ...error,
    field: heading(error.field),
    duplicateOf: unseen.has(error.duplicateOf) ? null : error.duplicateOf,
  }));
  return { ...report, errors: shown };
}

/** The outcome of a revert, without the ids of records that its reader may not see. */
export async function visibleRevert<Reverted extends Partial<ImportRevert>>(
  context: RequestContext,
  importers: readonly Importer[],
  reverted: Reverted,
): Promise<Reverted> {
  const { skipped = [] } = reverted;
  const hidden = new Set<unknown>();
  for (const importer of importers) {
    const ids = skipped.flatMap((record) => record[idOf(importer)] ?? []);
    for (const id of await unseenOf(context, importer, ids)) hidden.add(id);
  }
  if (hidden.size === 0) return reverted;
  const shown = skipped.map(({ reason, ...ids }) => (Object.values(ids).some((id) => hidden.has(id)) ? { reason } : { reason, ...ids }));
  return { ...reverted, skipped: shown };
}

function idOf({ keys }: Importer): "customerId" | "opportunityId" {
  return keys.id as "customerId" | "opportunityId";
}

/** Those of some records that the caller may not see. */
async function unseenOf(context: RequestContext, { ownedBy }: Importer, ids: readonly string[]): Promise<ReadonlySet<unknown>> {
  const readable = await readableIds(context, ownedBy, ids);
  return new Set(ids.filter((id) => !readable.has(id)));
}
