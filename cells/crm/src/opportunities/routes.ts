import {
  audited,
  type Call,
  type Cell,
  checked,
  endpoint,
  equals,
  idParams,
  listAnswer,
  listOf,
  listQuery,
  settingsOf,
  withoutMasked,
} from "@cell/cell";
import type { TenantDb } from "@cell/postgres";
import { notFound, Problem } from "@cell/problem";
import { v7 as uuidv7 } from "uuid";
import { checkOwner } from "../customers/domain.ts";
import * as customers from "../customers/repository.ts";
import * as pipelines from "../pipelines/repository.ts";
import { effective } from "../settings/domain.ts";
import { sightOf, visibility } from "../visibility.ts";
import { ownedBy } from "./bulk.ts";
import { changedOpportunity, deletedOpportunity, historyOf, newOpportunity } from "./domain.ts";
import { lists, stageMoveLists } from "./lists.ts";
import { conditionsOf, opportunityQuery } from "./query.ts";
import * as opportunities from "./repository.ts";
import { opportunity, opportunityDeleted, opportunityInput, opportunityPatch, stageMove } from "./schema.ts";

const tag = "Opportunities";
const sight = sightOf(opportunity, ownedBy);

const listOpportunities = endpoint({
  method: "get",
  path: "/opportunities",
  permission: "crm:read",
  tag,
  summary: "List opportunities",
  description: "Besides the fields of an opportunity, `filter` knows `lastStage`: its last stage other than lost.",
  query: opportunityQuery,
  status: 200,
  answer: listOf(opportunity, listAnswer(opportunity)),
});

const createOpportunity = endpoint({
  method: "post",
  path: "/opportunities",
  permission: "crm:write",
  tag,
  summary: "Create an opportunity",
  body: opportunityInput,
  status: 201,
  answer: opportunity,
  versioned: true,
  refusals: [404],
  sight,
});

const getOpportunity = endpoint({
  method: "get",
  path: "/opportunities/{id}",
  permission: "crm:read",
  tag,
  summary: "Read an opportunity",
  params: idParams,
  status: 200,
  answer: opportunity,
  versioned: true,
});

const changeOpportunity = endpoint({
  method: "patch",
  path: "/opportunities/{id}",
  permission: "crm:write",
  tag,
  summary: "Change an opportunity, or move it to another stage",
  description: `A move takes the new stage's probability, unless the request gives one. Entering a won or lost stage sets \`closedAt\`, leaving it clears
that and \`lostReason\`.`,
  params: idParams,
  body: opportunityPatch,
  example: { body: { stage: "proposal" }, answer: { stage: "proposal", probability: 50, version: 2 } },
  status: 200,
  answer: opportunity,
  versioned: true,
  sight,
});

const deleteOpportunity = endpoint({
  method: "delete",
  path: "/opportunities/{id}",
  permission: "crm:write",
  tag,
  summary: "Delete an opportunity",
  params: idParams,
  status: 200,
  answer: opportunityDeleted,
  versioned: true,
  sight,
});

const listMoves = endpoint({
  method: "get",
  path: "/opportunities/{id}/stage-history",
  permission: "crm:read",
  tag,
  summary: "List the stages that an opportunity was in",
  description: "Oldest first, with what it was worth on entering each. The list is only ever added to.",
  params: idParams,
  query: listQuery,
  status: 200,
  answer: listOf(stageMove, listAnswer(stageMove)),
});

const conflicts = {
  opportunities_stage_key: async () => new Problem("CONFLICT", "The pipeline's stages have just changed; try again"),
};

/** The opportunities' routes. */
export function opportunityRoutes(cell: Cell): void {
  cell.list(listOpportunities, lists, { conditions: ({ query, tenant }) => conditionsOf(query, tenant) });

  cell.command(createOpportunity, async (call, tx) => {
    const input = withoutMasked(opportunity.sensitive, undefined, call.body);
    const [, pipeline, settings] = await Promise.all([
      checkCustomer(call, tx, input.customerId),
      pipelineOf(tx, input.pipelineId),
      settingsOf(call.tenant),
    ]);
    const made = { opportunityId: uuidv7(), currency: effective(settings).currency, now: call.now };
    const created = newOpportunity(input, pipeline, actorOf(call), made);
    return {
      changes: [opportunities.insert(tx, created), ...opportunities.track(tx, historyOf(undefined, created, authorOf(call)))],
      audit: [audited("create", opportunity, {}, created)],
      body: created,
      conflicts,
    };
  });

  cell.read(getOpportunity, "Opportunity", (call, tenant) => opportunities.findRow(tenant, call.params.id, visibility(call)));

  cell.command(changeOpportunity, async (call, tx) => {
    const current = await checked(call, tx, opportunity, await opportunities.find(tx, call.params.id, visibility(call)));
    const patch = withoutMasked(opportunity.sensitive, current, call.body);
    if (patch.ownerId !== undefined && patch.ownerId !== current.ownerId) checkOwner(patch.ownerId, actorOf(call));
    if (patch.customerId !== undefined && patch.customerId !== current.customerId) await checkCustomer(call, tx, patch.customerId);
    const next = changedOpportunity(current, patch, await pipelineOf(tx, patch.pipelineId ?? current.pipelineId), call.now);
    if (next === current) return { changes: [], audit: [], body: current, resourceId: current.opportunityId };
    return {
      changes: [opportunities.update(tx, next, current.version), ...opportunities.track(tx, historyOf(current, next, authorOf(call)))],
      audit: [audited("update", opportunity, current, next)],
      body: next,
      conflicts,
    };
  });

  cell.command(deleteOpportunity, async (call, tx) => {
    const current = await checked(call, tx, opportunity, await opportunities.find(tx, call.params.id, visibility(call)));
    const next = deletedOpportunity(current, call.now);
    return {
      changes: [
        opportunities.remove(tx, next, current.version),
        ...opportunities.track(tx, historyOf(current, next, authorOf(call), true)),
      ],
      audit: [audited("delete", opportunity, current, next)],
      body: { opportunityId: current.opportunityId, deleted: true as const },
    };
  });

  cell.list(listMoves, stageMoveLists, {
    async conditions(call) {
      const found = await opportunities.find(call.tenant.reader(), call.params.id, visibility(call));
      if (!found) throw notFound("Opportunity");
      return [equals("opportunityId", found.opportunityId)];
    },
  });
}

function actorOf({ caller }: Pick<Call, "caller">) {
  return { userId: caller.userId, ownOnly: caller.scope === "own" };
}

function authorOf({ caller, requestId }: Pick<Call, "caller" | "requestId">) {
  return { actorId: caller.userId, requestId };
}

async function checkCustomer(call: Call, tenant: TenantDb, customerId: string): Promise<void> {
  if (!(await customers.find(tenant, customerId, visibility(call)))) throw notFound("Customer", { field: "customerId" });
}

async function pipelineOf(tenant: TenantDb, pipelineId: string | undefined) {
  if (pipelineId === undefined) return pipelines.findDefault(tenant);
  const found = await pipelines.find(tenant, pipelineId);
  if (!found) throw notFound("Pipeline", { field: "pipelineId" });
  return found;
}
