import type { Tenant } from "../admin/tenants/schema.ts";
import { ApiError, type Client } from "./client.ts";
import { type CommandResult, lines, printTable } from "./output.ts";

const path = "/api/admin/tenants";

export async function createTenant(client: Client, tenantId: string, options: { name: string }): Promise<CommandResult> {
  const tenant = await client.json<Tenant>({ path, json: { tenantId, name: options.name } });
  const places = tenant.placements.map(({ partition }) => partition).join(", ");
  return { data: tenant, show: lines(`Tenant ${tenant.tenantId} is ready on ${places}.`) };
}

export async function listTenants(client: Client): Promise<CommandResult> {
  const tenants = await allPages<Tenant>(client, path, {});
  const places = (tenant: Tenant) =>
    tenant.placements.map(({ partition, provisioned }) => (provisioned ? partition : `${partition} (unfinished)`));
  const rows = tenants.map((tenant) => [
    tenant.tenantId,
    tenant.name,
    tenant.status,
    places(tenant).join(" "),
    tenant.createdAt,
    String(tenant.quotaBytes ?? "none"),
  ]);
  return { data: tenants, show: () => printTable(["TENANT", "NAME", "STATUS", "PLACES", "CREATED", "QUOTA"], rows) };
}

export async function setTenantStatus(client: Client, tenantId: string, status: Tenant["status"]): Promise<CommandResult> {
  const data = await client.json<Tenant>({ method: "PATCH", path: `${path}/${encodeURIComponent(tenantId)}`, json: { status } });
  return { data, show: lines(status === "active" ? `Tenant ${tenantId} is active again.` : `Tenant ${tenantId} is suspended.`) };
}

/** Sets a tenant's storage quota in a cell. */
export async function setTenantQuota(client: Client, tenantId: string, given: string): Promise<CommandResult> {
  const quotaBytes = given === "none" ? null : Number(given);
  if (quotaBytes !== null && !(given.trim() !== "" && Number.isSafeInteger(quotaBytes) && quotaBytes >= 0))
    throw new ApiError("A quota is a whole number of bytes, or none");
  const data = await client.json<Tenant>({ method: "PATCH", path: `${path}/${encodeURIComponent(tenantId)}`, json: { quotaBytes } });
  const recorded = quotaBytes === null ? "has no quota" : `may store ${quotaBytes} bytes in each cell`;
  return { data, show: lines(`Tenant ${tenantId} ${recorded}.`) };
}

export async function dropTenant(client: Client, tenantId: string, options: { yes?: boolean }): Promise<CommandResult> {
  if (!options.yes) throw new ApiError(`This deletes all data of ${tenantId} for good; add --yes to confirm`);
  const data = await client.json({ method: "DELETE", path: `${path}/${encodeURIComponent(tenantId)}`, query: { confirm: tenantId } });
  return { data, show: lines(`Tenant ${tenantId} is deleted.`) };
}

/** The rows of all pages of a list. */
export async function allPages<T>(client: Client, list: string, query: Record<string, string | undefined>): Promise<T[]> {
  const rows: T[] = [];
  for (let page = 1; ; page++) {
    const { data, total } = await client.json<{ data: T[]; total: number }>({
      path: list,
      query: { ...query, page: String(page), pageSize: "200" },
    });
    rows.push(...data);
    if (data.length === 0 || rows.length >= total) return rows;
  }
}
