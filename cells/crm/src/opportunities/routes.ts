import {
  audited,
  type Cell,
  endpoint,
  equals,
  hiddenFields,
  idParams,
  listOf,
  listQuery,
  listResponse,
  type RequestContext,
  readableKinds,
  requireVersion,
  settingsOf,
  visibility,
  withoutMasked,
} from "@cell/cell";
import type { TenantDb } from "@cell/postgres";
import { notFound, Problem } from "@cell/problem";
import { v7 as uuidv7 } from "uuid";
import { checkOwner } from "../customers/domain.ts";
import * as customers from "../customers/repository.ts";
import * as pipelines from "../pipelines/repository.ts";
import { effective } from "../settings/domain.ts";
import { recordVisibility } from "../visibility.ts";
import { changedOpportunity, deletedOpportunity, historyOf, newOpportunity, recordedAnyway } from "./domain.ts";
import { ownedBy } from "./imports/bulk-write.ts";
import { lists, stageMoveLists } from "./lists.ts";
import { conditionsOf, opportunityQuery } from "./query.ts";
import * as opportunities from "./repository.ts";
import { opportunity, opportunityDeleted, opportunityInput, opportunityPatch, stageMove } from "./schema.ts";

const tag = "Opportunities";
const readableBy = recordVisibility(opportunity, ownedBy);

const listOpportunities = endpoint({
  method: "get",
  path: "/opportunities",
  permission: "crm:read",
  tag,
  summary: "List opportunities",
  description: "Besides the fields of an opportunity, `filter` takes `lastStage`: its last stage other than lost.",
  query: opportunityQuery,
  status: 200,
  response: listOf(opportunity, listResponse(opportunity)),
});

const createOpportunity = endpoint({
  method: "post",
  path: "/opportunities",
  permission: "crm:write",
  tag,
  summary: "Create an opportunity",
  body: opportunityInput,
  status: 201,
  response: opportunity,
  versioned: true,
  errorResponses: [404],
  visibility: readableBy,
});

const getOpportunity = endpoint({
  method: "get",
  path: "/opportunities/{id}",
  permission: "crm:read",
  tag,
  summary: "Read an opportunity",
  params: idParams,
  status: 200,
  response: opportunity,
  versioned: true,
});

const changeOpportunity = endpoint({
  method: "patch",
  path: "/opportunities/{id}",
  permission: "crm:write",
  tag,
  summary: "Change an opportunity, or move it to another stage",
  description: `A move takes the new stage's probability, unless the request gives one. Entering a won or lost stage sets \`closedAt\`, leaving it clears
\`closedAt\` and \`lostReason\`. A value of a field that the caller may not read always counts as a change.`,
  params: idParams,
  body: opportunityPatch,
  example: { body: { stage: "proposal" }, response: { stage: "proposal", probability: 50, version: 2 } },
  status: 200,
  response: opportunity,
  versioned: true,
  visibility: readableBy,
});

const deleteOpportunity = endpoint({
  method: "delete",
  path: "/opportunities/{id}",
  permission: "crm:write",
  tag,
  summary: "Delete an opportunity",
  params: idParams,
  status: 200,
  response: opportunityDeleted,
  versioned: true,
  visibility: readableBy,
});

const listMoves = endpoint({
  method: "get",
  path: "/opportunities/{id}/stage-history",
  permission: "crm:read",
  tag,
  summary: "List the stages that an opportunity was in",
  description: "Oldest first, with the amount on entering each stage. The history is append-only.",
  params: idParams,
  query: listQuery,
  status: 200,
  response: listOf(stageMove, listResponse(stageMove)),
});

const conflicts = {
  opportunities_stage_key: async () => new Problem("CONFLICT", "The pipeline's stages have just changed; try again"),
};

/** Routes of opportunities. */
export function opportunityRoutes(cell: Cell): void {
  cell.list(listOpportunities, lists, { conditions: ({ query, tenant }) => conditionsOf(query, tenant) });

  cell.command(createOpportunity, async (context, tx) => {
    const input = withoutMasked(opportunity.sensitive, undefined, context.body);
    const [, pipeline, settings] = await Promise.all([
      checkCustomer(context, tx, input.customerId),
      pipelineOf(tx, input.pipelineId),
      settingsOf(context.tenant),
    ]);
    const made = { opportunityId: uuidv7(), currency: effective(settings).currency, now: context.now };
    const created = newOpportunity(input, pipeline, actorOf(context), made);
    return {
      changes: [opportunities.insert(tx, created), ...opportunities.track(tx, historyOf(undefined, created, authorOf(context)))],
      audit: [audited("create", opportunity, {}, created)],
      body: created,
      conflicts,
    };
  });

  cell.read(getOpportunity, "Opportunity", (context, tenant) => opportunities.findRow(tenant, context.params.id, visibility(context)));

  cell.command(changeOpportunity, async (context, tx) => {
    const current = await requireVersion(context, tx, opportunity, await opportunities.find(tx, context.params.id, visibility(context)));
    const patch = withoutMasked(opportunity.sensitive, current, context.body);
    if (patch.ownerId !== undefined && patch.ownerId !== current.ownerId) checkOwner(patch.ownerId, actorOf(context));
    if (patch.customerId !== undefined && patch.customerId !== current.customerId) await checkCustomer(context, tx, patch.customerId);
    const changed = changedOpportunity(current, patch, await pipelineOf(tx, patch.pipelineId ?? current.pipelineId), context.now);
    const hidden = hiddenFields(opportunity.sensitive, patch, readableKinds(context.caller));
    const next = hidden.length > 0 ? recordedAnyway(current, changed, context.now) : changed;
    if (next === current) return { changes: [], audit: [], body: current, resourceId: current.opportunityId };
    return {
      changes: [opportunities.update(tx, next, current.version), ...opportunities.track(tx, historyOf(current, next, authorOf(context)))],
      audit: [audited("update", opportunity, current, next, hidden)],
      body: next,
      conflicts,
    };
  });

  cell.command(deleteOpportunity, async (context, tx) => {
    const current = await requireVersion(context, tx, opportunity, await opportunities.find(tx, context.params.id, visibility(context)));
    const next = deletedOpportunity(current, context.now);
    return {
      changes: [
        opportunities.remove(tx, next, current.version),
        ...opportunities.track(tx, historyOf(current, next, authorOf(context), true)),
      ],
      audit: [audited("delete", opportunity, current, next)],
      body: { opportunityId: current.opportunityId, deleted: true as const },
    };
  });

  cell.list(listMoves, stageMoveLists, {
    async conditions(context) {
      const found = await opportunities.find(context.tenant.reader(), context.params.id, visibility(context));
      if (!found) throw notFound("Opportunity");
      return [equals("opportunityId", found.opportunityId)];
    },
  });
}

function actorOf({ caller }: Pick<RequestContext, "caller">) {
  return { userId: caller.userId, ownOnly: caller.scope === "own" };
}

function authorOf({ caller, requestId }: Pick<RequestContext, "caller" | "requestId">) {
  return { actorId: caller.userId, requestId };
}

async function checkCustomer(context: RequestContext, tenant: TenantDb, customerId: string): Promise<void> {
  if (!(await customers.find(tenant, customerId, visibility(context)))) throw notFound("Customer", { field: "customerId" });
}

async function pipelineOf(tenant: TenantDb, pipelineId: string | undefined) {
  if (pipelineId === undefined) return pipelines.findDefault(tenant);
  const found = await pipelines.find(tenant, pipelineId);
  if (!found) throw notFound("Pipeline", { field: "pipelineId" });
  return found;
}
