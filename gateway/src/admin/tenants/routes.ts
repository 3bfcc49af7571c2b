import { badField, notFound, Problem } from "@cell/problem";
import { z } from "zod";
import { change } from "../../control-plane/tables.ts";
import * as moves from "../../moves/repository.ts";
import type { Services } from "../../services.ts";
import type { AdminRoutes } from "../admin-routes.ts";
import { adminEndpoint } from "../endpoint.ts";
import { pageQuery, tenantIdSchema } from "../schemas.ts";
import * as tenants from "./repository.ts";
import { type Tenant, tenantCreateSchema, tenantDeletedSchema, tenantListSchema, tenantPatchSchema, tenantSchema } from "./schema.ts";

const params = z.object({ tenantId: tenantIdSchema });

const createTenant = adminEndpoint({
  method: "post",
  path: "/api/admin/tenants",
  tag: "Tenants",
  callers: "operator",
  summary: "Create a tenant in every cell",
  description: "If it fails midway, repeat the same request to finish it.",
  body: tenantCreateSchema,
  status: 201,
  response: { description: "The tenant", schema: tenantSchema },
  errorResponses: [409],
});

const listTenants = adminEndpoint({
  method: "get",
  path: "/api/admin/tenants",
  tag: "Tenants",
  callers: "operator",
  summary: "List the tenants",
  query: z.strictObject(pageQuery),
  status: 200,
  response: { description: "A page of tenants by their ids", schema: tenantListSchema },
});

const getTenant = adminEndpoint({
  method: "get",
  path: "/api/admin/tenants/{tenantId}",
  tag: "Tenants",
  callers: "operator",
  summary: "Get a tenant",
  params,
  status: 200,
  response: { description: "The tenant", schema: tenantSchema },
  errorResponses: [404],
});

const patchTenant = adminEndpoint({
  method: "patch",
  path: "/api/admin/tenants/{tenantId}",
  tag: "Tenants",
  callers: "operator",
  summary: "Rename, suspend or resume a tenant, or limit its rate",
  params,
  body: tenantPatchSchema,
  status: 200,
  response: { description: "The tenant", schema: tenantSchema },
  errorResponses: [404],
});

const deleteTenant = adminEndpoint({
  method: "delete",
  path: "/api/admin/tenants/{tenantId}",
  tag: "Tenants",
  callers: "operator",
  summary: "Drop a tenant with all its data, for good",
  description: "If it fails midway, repeat the same request to finish it.",
  params,
  query: z.strictObject({ confirm: z.string().max(40).describe("The tenant's id, as confirmation") }),
  status: 200,
  response: { description: "The tenant is deleted", schema: tenantDeletedSchema },
  errorResponses: [404, 409],
});

/** The lifecycle of tenants: only for the operator. */
export function registerTenants(routes: AdminRoutes, { config, db, cells, changed }: Services): void {
  async function found(tenantId: string): Promise<Tenant> {
    const tenant = await tenants.find(db, tenantId);
    if (!tenant) throw notFound("Tenant");
    return tenant;
  }

  const isComplete = (tenant: Tenant) =>
    config.cells.every(({ name }) => tenant.placements.some(({ cell, provisioned }) => cell === name && provisioned));

  routes.respond(createTenant, async ({ body }) => {
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
    return await found(tenantId);
  });

  routes.respond(listTenants, async ({ query: { page, pageSize } }) => {
    return { ...(await tenants.list(db, page, pageSize)), page, pageSize };
  });

  routes.respond(getTenant, ({ params }) => found(params.tenantId));

  routes.respond(patchTenant, async ({ params: { tenantId }, body: patch }) => {
    if (!(await change(db, (tx) => tenants.update(tx, tenantId, patch)))) throw notFound("Tenant");
    changed();
    return await found(tenantId);
  });

  routes.respond(deleteTenant, async ({ params: { tenantId }, query }) => {
    if (query.confirm !== tenantId) throw badField("confirm", "INVALID_FORMAT", "must repeat the tenant's id");
    await found(tenantId);
    if (await moves.isRunning(db, tenantId)) throw new Problem("CONFLICT", "This tenant is being moved; drop it after the move has ended");
    // Stops requests first, then drops the data, and deletes the placement last.
    await change(db, (tx) => tenants.setProvisioned(tx, tenantId, false));
    changed();
    const places = [...(await tenants.places(db, tenantId)), ...(await moves.leftovers(db, tenantId))];
    await Promise.all(places.map((place) => cells.drop(place, tenantId)));
    await change(db, (tx) => tenants.remove(tx, tenantId));
    changed();
    return { tenantId, deleted: true as const };
  });
}
