import { badField, notFound, Problem } from "@cell/problem";
import { createRoute, type OpenAPIHono, z } from "@hono/zod-openapi";
import { change } from "../../control-plane/tables.ts";
import * as moves from "../../moves/repository.ts";
import type { Services } from "../../services.ts";
import { type GatewayEnv, requireOperator } from "../access.ts";
import { pageQuery, problems, response, security, tenantIdSchema } from "../openapi.ts";
import * as tenants from "./repository.ts";
import { type Tenant, tenantCreateSchema, tenantDeletedSchema, tenantListSchema, tenantPatchSchema, tenantSchema } from "./schema.ts";

const tags = ["Tenants"];
const params = z.object({ tenantId: tenantIdSchema });

const createTenant = createRoute({
  method: "post",
  path: "/api/admin/tenants",
  tags,
  security,
  summary: "Create a tenant in every cell",
  description: "If it fails midway, repeat the same request to finish it.",
  request: { body: { required: true, content: { "application/json": { schema: tenantCreateSchema } } } },
  responses: { 201: response("The tenant", tenantSchema), ...problems(409) },
});

const listTenants = createRoute({
  method: "get",
  path: "/api/admin/tenants",
  tags,
  security,
  summary: "List the tenants",
  request: { query: z.strictObject(pageQuery) },
  responses: { 200: response("A page of tenants by their ids", tenantListSchema), ...problems() },
});

const getTenant = createRoute({
  method: "get",
  path: "/api/admin/tenants/{tenantId}",
  tags,
  security,
  summary: "Get a tenant",
  request: { params },
  responses: { 200: response("The tenant", tenantSchema), ...problems(404) },
});

const patchTenant = createRoute({
  method: "patch",
  path: "/api/admin/tenants/{tenantId}",
  tags,
  security,
  summary: "Rename, suspend or resume a tenant, or limit its rate",
  request: { params, body: { required: true, content: { "application/json": { schema: tenantPatchSchema } } } },
  responses: { 200: response("The tenant", tenantSchema), ...problems(404) },
});

const deleteTenant = createRoute({
  method: "delete",
  path: "/api/admin/tenants/{tenantId}",
  tags,
  security,
  summary: "Drop a tenant with all its data, for good",
  description: "If it fails midway, repeat the same request to finish it.",
  request: { params, query: z.strictObject({ confirm: z.string().max(40).describe("The tenant's id, as confirmation") }) },
  responses: { 200: response("The tenant is deleted", tenantDeletedSchema), ...problems(404, 409) },
});

/** The lifecycle of tenants: only for the operator. */
export function registerTenants(app: OpenAPIHono<GatewayEnv>, { config, db, cells, changed }: Services): void {
  async function found(tenantId: string): Promise<Tenant> {
    const tenant = await tenants.find(db, tenantId);
    if (!tenant) throw notFound("Tenant");
    return tenant;
  }

  const isComplete = (tenant: Tenant) =>
    config.cells.every(({ name }) => tenant.placements.some(({ cell, provisioned }) => cell === name && provisioned));

  app.openapi(createTenant, async (c) => {
    requireOperator(c);
    const body = c.req.valid("json");
    const { tenantId } = body;
    await change(db, async (tx) => {
      const existing = await tenants.find(tx, tenantId);
      if (existing && isComplete(existing)) throw new Problem("CONFLICT", "This tenant exists already");
      await tenants.save(tx, body);
      for (const { name } of config.cells) await tenants.place(tx, tenantId, name);
    });
    const places = await tenants.places(db, tenantId);
    await Promise.all(places.map((place) => cells.provision(place, tenantId)));
    await change(db, (tx) => tenants.setProvisioned(tx, tenantId, true));
    changed();
    return c.json(await found(tenantId), 201);
  });

  app.openapi(listTenants, async (c) => {
    requireOperator(c);
    const { page, pageSize } = c.req.valid("query");
    return c.json({ ...(await tenants.list(db, page, pageSize)), page, pageSize }, 200);
  });

  app.openapi(getTenant, async (c) => {
    requireOperator(c);
    return c.json(await found(c.req.valid("param").tenantId), 200);
  });

  app.openapi(patchTenant, async (c) => {
    requireOperator(c);
    const { tenantId } = c.req.valid("param");
    const patch = c.req.valid("json");
    if (!(await change(db, (tx) => tenants.update(tx, tenantId, patch)))) throw notFound("Tenant");
    changed();
    return c.json(await found(tenantId), 200);
  });

  app.openapi(deleteTenant, async (c) => {
    requireOperator(c);
    const { tenantId } = c.req.valid("param");
    if (c.req.valid("query").confirm !== tenantId) throw badField("confirm", "INVALID_FORMAT", "must repeat the tenant's id");
    await found(tenantId);
    if (await moves.isRunning(db, tenantId)) throw new Problem("CONFLICT", "This tenant is being moved; drop it after the move has ended");
    // Stops requests first, then drops the data, and deletes the placement last.
    await change(db, (tx) => tenants.setProvisioned(tx, tenantId, false));
    changed();
    const places = [...(await tenants.places(db, tenantId)), ...(await moves.leftovers(db, tenantId))];
    await Promise.all(places.map((place) => cells.drop(place, tenantId)));
    await change(db, (tx) => tenants.remove(tx, tenantId));
    changed();
    return c.json({ tenantId, deleted: true as const }, 200);
  });
}
