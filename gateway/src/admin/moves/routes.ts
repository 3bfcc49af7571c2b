import { notFound } from "@cell/problem";
import { createRoute, type OpenAPIHono, z } from "@hono/zod-openapi";
import { step } from "../../moves/copying.ts";
import * as moves from "../../moves/repository.ts";
import type { Services } from "../../services.ts";
import { type GatewayEnv, requireOperator } from "../access.ts";
import { integerParam, pageQuery, problems, response, security, tenantIdSchema } from "../openapi.ts";
import * as tenants from "../tenants/repository.ts";
import { copiesDroppedSchema, type MoveResponse, moveCreateSchema, moveListSchema, moveSchema } from "./schema.ts";

const tags = ["Moves"];
const params = z.object({ tenantId: tenantIdSchema });

const startMove = createRoute({
  method: "post",
  path: "/api/admin/tenants/{tenantId}/move",
  tags,
  security,
  summary: "Move a tenant to another partition of a cell",
  description:
    "Its rows are copied while it is served; then its writes fail for some seconds (503 with Retry-After) while the rest is copied and compared.  " +
    "If anything fails, the tenant stays where it was.",
  request: { params, body: { required: true, content: { "application/json": { schema: moveCreateSchema } } } },
  responses: { 202: response("The move has begun", moveSchema), ...problems(404, 409) },
});

const listMoves = createRoute({
  method: "get",
  path: "/api/admin/moves",
  tags,
  security,
  summary: "List the moves, newest first",
  request: { query: z.strictObject({ ...pageQuery, tenantId: tenantIdSchema.optional() }) },
  responses: { 200: response("A page of moves", moveListSchema), ...problems(404) },
});

const getMove = createRoute({
  method: "get",
  path: "/api/admin/moves/{moveId}",
  tags,
  security,
  summary: "Read the progress of a move",
  request: { params: z.object({ moveId: integerParam(1, Number.MAX_SAFE_INTEGER).describe("The move's number") }) },
  responses: { 200: response("The move", moveSchema), ...problems(404) },
});

const dropCopies = createRoute({
  method: "delete",
  path: "/api/admin/tenants/{tenantId}/copies",
  tags,
  security,
  summary: "Drop the copies that moves have left, which nobody is served from",
  request: { params },
  responses: { 200: response("The copies are deleted", copiesDroppedSchema), ...problems(404, 409) },
});

/** Moves of tenants between partitions: only for the operator. */
export function registerMoves(app: OpenAPIHono<GatewayEnv>, { db, cells, mover }: Services): void {
  app.openapi(startMove, async (c) => {
    requireOperator(c);
    const { to } = c.req.valid("json");
    const move = await mover.begin(c.req.valid("param").tenantId, to.replace(/-\d+$/, ""), to);
    return c.json(responseOf(move), 202);
  });

  app.openapi(listMoves, async (c) => {
    requireOperator(c);
    const { page, pageSize, tenantId } = c.req.valid("query");
    await tenants.requireTenant(db, tenantId);
    const { data, total } = await moves.list(db, tenantId, page, pageSize);
    return c.json({ data: data.map(responseOf), total, page, pageSize }, 200);
  });

  app.openapi(getMove, async (c) => {
    requireOperator(c);
    const move = await moves.find(db, c.req.valid("param").moveId);
    if (!move) throw notFound("Move");
    return c.json(responseOf(move), 200);
  });

  app.openapi(dropCopies, async (c) => {
    requireOperator(c);
    const { tenantId } = c.req.valid("param");
    await tenants.requireTenant(db, tenantId);
    const epoch = await moves.nextEpoch(db);
    const copies = await moves.leftovers(db, tenantId);
    for (const partition of copies) {
      await step(cells, { partition, tenantId, epoch }, "discard");
      await moves.forgetLeftover(db, tenantId, partition);
    }
    return c.json({ tenantId, dropped: copies.map(({ partition }) => partition) }, 200);
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
