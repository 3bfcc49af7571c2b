import type { Tenant } from "../admin/tenants/schema.ts";
import { CallError, type Client } from "./client.ts";
import { printTable } from "./output.ts";

const path = "/api/admin/tenants";

export async function createTenant(client: Client, tenantId: string, options: { name: string }): Promise<void> {
  const tenant = await client.json<Tenant>({ path, json: { tenantId, name: options.name } });
  console.log(`Tenant ${tenant.tenantId} is ready on ${tenant.placements.map(({ partition }) => partition).join(", ")}.`);
}

export async function listTenants(client: Client): Promise<void> {
  const tenants = await allPages<Tenant>(client, path, {});
  const places = (tenant: Tenant) =>
    tenant.placements.map(({ partition, provisioned }) => (provisioned ? partition : `${partition} (unfinished)`));
  printTable(
    ["TENANT", "NAME", "STATUS", "PLACES", "CREATED"],
    tenants.map((tenant) => [tenant.tenantId, tenant.name, tenant.status, places(tenant).join(" "), tenant.createdAt]),
  );
}

export async function setTenantStatus(client: Client, tenantId: string, status: Tenant["status"]): Promise<void> {
  await client.json({ method: "PATCH", path: `${path}/${encodeURIComponent(tenantId)}`, json: { status } });
  console.log(status === "active" ? `Tenant ${tenantId} is active again.` : `Tenant ${tenantId} is suspended.`);
}

export async function dropTenant(client: Client, tenantId: string, options: { yes?: boolean }): Promise<void> {
  if (!options.yes) throw new CallError(`This deletes all data of ${tenantId} for good; add --yes if that is meant`);
  await client.json({ method: "DELETE", path: `${path}/${encodeURIComponent(tenantId)}`, query: { confirm: tenantId } });
  console.log(`Tenant ${tenantId} is gone.`);
}

/** The rows of every page of a list. */
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
