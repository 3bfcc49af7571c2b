import type { ControlDb } from "../control-plane/tables.ts";
import type { PlacedTenant } from "./access.ts";

/** A tenant: one row for each cell that it is placed in; no row if it does not exist. */
export function findPlacedTenant(db: ControlDb, tenantId: string): Promise<PlacedTenant[]> {
  return db
    .selectFrom("gateway.tenants as tenant")
    .leftJoin("gateway.placements as placement", (join) =>
      join.onRef("placement.tenantId", "=", "tenant.tenantId").on("placement.provisioned", "=", true),
    )
    .leftJoin("gateway.partitions as partition", (join) =>
      join.onRef("partition.cell", "=", "placement.cell").onRef("partition.partition", "=", "placement.partition"),
    )
    .where("tenant.tenantId", "=", tenantId)
    .select(["tenant.status", "tenant.rateLimit", "tenant.quotaBytes", "partition.cell", "partition.url"])
    .execute();
}
