import { notFound } from "@cell/problem";
import { z } from "zod";
import { step } from "../../moves/copying.ts";
import * as moves from "../../moves/repository.ts";
import type { Services } from "../../services.ts";
import type { AdminRoutes } from "../admin-routes.ts";
import { adminEndpoint } from "../endpoint.ts";
import { integerParam, pageQuery, tenantIdSchema } from "../schemas.ts";
import * as tenants from "../tenants/repository.ts";
import { copiesDroppedSchema, type MoveResponse, moveCreateSchema, moveListSchema, moveSchema } from "./schema.ts";

const params = z.object({ tenantId: tenantIdSchema });

const startMove = adminEndpoint({
  method: "post",
  path: "/api/admin/tenants/{tenantId}/move",
  tag: "Moves",
  callers: "operator",
  summary: "Move a tenant to another partition of a cell",
  description:
    "Its rows are copied while it is served; then its writes fail for some seconds (503 with Retry-After) while the rest is copied and compared.  " +
    "If anything fails, the tenant stays where it was.",
  params,
  body: moveCreateSchema,
  status: 202,
  response: { description: "The move has begun", schema: moveSchema },
  errorResponses: [404, 409],
});

const listMoves = adminEndpoint({
  method: "get",
  path: "/api/admin/moves",
  tag: "Moves",
  callers: "operator",
  summary: "List the moves, newest first",
  query: z.strictObject({ ...pageQuery, tenantId: tenantIdSchema.optional() }),
  status: 200,
  response: { description: "A page of moves", schema: moveListSchema },
  errorResponses: [404],
});

const getMove = adminEndpoint({
  method: "get",
  path: "/api/admin/moves/{moveId}",
  tag: "Moves",
  callers: "operator",
  summary: "Read the progress of a move",
  params: z.object({ moveId: integerParam(1, Number.MAX_SAFE_INTEGER).describe("The move's number") }),
  status: 200,
  response: { description: "The move", schema: moveSchema },
  errorResponses: [404],
});

const dropCopies = adminEndpoint({
  method: "delete",
  path: "/api/admin/tenants/{tenantId}/copies",
  tag: "Moves",
  callers: "operator",
  summary: "Drop the copies that moves have left, which nobody is served from",
  params,
  status: 200,
  response: { description: "The copies are deleted", schema: copiesDroppedSchema },
  errorResponses: [404, 409],
});

/** Moves of tenants between partitions: only for the operator. */
export function registerMoves(routes: AdminRoutes, { db, cells, mover }: Services): void {
  routes.respond(startMove, async ({ params: { tenantId }, body: { to } }) => {
    const move = await mover.begin(tenantId, to.replace(/-\d+$/, ""), to);
    return responseOf(move);
  });

  routes.respond(listMoves, async ({ query: { page, pageSize, tenantId } }) => {
    await tenants.requireTenant(db, tenantId);
    const { data, total } = await moves.list(db, tenantId, page, pageSize);
    return { data: data.map(responseOf), total, page, pageSize };
  });

  routes.respond(getMove, async ({ params }) => {
    const move = await moves.find(db, params.moveId);
    if (!move) throw notFound("Move");
    return responseOf(move);
  });

  routes.respond(dropCopies, async ({ params: { tenantId } }) => {
    await tenants.requireTenant(db, tenantId);
    const epoch = await moves.nextEpoch(db);
    const copies = await moves.leftovers(db, tenantId);
    for (const partition of copies) {
      await step(cells, { partition, tenantId, epoch }, "discard");
      await moves.forgetLeftover(db, tenantId, partition);
    }
    return { tenantId, dropped: copies.map(({ partition }) => partition) };
  });
}

function responseOf({ moveId, tenantId, cell, fromPartition, toPartition, ...rest }: moves.Move): MoveResponse {
  const { state, step, rows, pauseMs, startedAt, finishedAt, failure, leftover } = rest;
  return {
    moveId,
    tenantId,
    cell,
    from: fromPartition,
    to: toPartition,
    state,
    step,
    rows,
    pauseMs,
    startedAt,
    finishedAt,
    failure,
    leftover,
  };
}
