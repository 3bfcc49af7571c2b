import { notFound } from "@cell/problem";
import { sql } from "kysely";
import { jsonArrayFrom } from "kysely/helpers/postgres";
import type { ControlDb, ControlTx } from "../../control-plane/tables.ts";
import type { Tenant, TenantPatch } from "./schema.ts";

/** A tenant's partition in one cell. */
export interface Place {
  cell: string;
  /** The partition's address. */
  url: string;
}

function select(db: ControlDb) {
  return db
    .selectFrom("gateway.tenants as tenant")
    .select(["tenant.tenantId", "tenant.name", "tenant.status", "tenant.rateLimit", "tenant.quotaBytes", "tenant.createdAt"])
    .select((row) =>
      jsonArrayFrom(
        row
          .selectFrom("gateway.placements as placement")
          .whereRef("placement.tenantId", "=", "tenant.tenantId")
          .select(["placement.cell", "placement.partition", "placement.provisioned"])
          .orderBy("placement.cell"),
      ).as("placements"),
    );
}

export function find(db: ControlDb, tenantId: string): Promise<Tenant | undefined> {
  return select(db).where("tenant.tenantId", "=", tenantId).executeTakeFirst();
}

/** Rejects with NOT_FOUND for an unknown tenant, since an empty list would be misleading. Does nothing without an id. */
export async function requireTenant(db: ControlDb, tenantId: string | undefined): Promise<void> {
  if (tenantId !== undefined && !(await find(db, tenantId))) throw notFound("Tenant");
}

export async function list(db: ControlDb, page: number, pageSize: number): Promise<{ data: Tenant[]; total: number }> {
  const data = await select(db)
    .orderBy("tenant.tenantId")
    .limit(pageSize)
    .offset((page - 1) * pageSize)
    .execute();
  const { total } = await db.selectFrom("gateway.tenants").select(sql<number>`count(*)`.as("total")).executeTakeFirstOrThrow();
  return { data, total };
}

/** Saves the tenant, or its new name; concurrent creations of the same tenant wait for the transaction's end. */
export async function save(tx: ControlTx, tenant: { tenantId: string; name: string }): Promise<void> {
  await tx
    .insertInto("gateway.tenants")
    .values(tenant)
    .onConflict((conflict) => conflict.column("tenantId").doUpdateSet({ name: tenant.name }))
    .execute();
}

/** Places the tenant in a cell, on the partition with the fewest tenants, unless it is placed already. */
export async function place(tx: ControlTx, tenantId: string, cell: string): Promise<void> {
  await tx
    .insertInto("gateway.placements")
    .columns(["cell", "tenantId", "partition"])
    .expression((row) =>
      row
        .selectFrom("gateway.partitions as partition")
        .leftJoin("gateway.placements as placement", (join) =>
          join.onRef("placement.cell", "=", "partition.cell").onRef("placement.partition", "=", "partition.partition"),
        )
        .where("partition.cell", "=", cell)
        .groupBy(["partition.cell", "partition.partition"])
        .orderBy(sql`count(placement.tenant_id)`)
        .orderBy("partition.partition")
        .limit(1)
        .select(["partition.cell", sql<string>`${tenantId}::text`.as("tenantId"), "partition.partition"]),
    )
    .onConflict((conflict) => conflict.columns(["tenantId", "cell"]).doNothing())
    .execute();
}

export function places(db: ControlDb, tenantId: string): Promise<Place[]> {
  return db
    .selectFrom("gateway.placements as placement")
    .innerJoin("gateway.partitions as partition", (join) =>
      join.onRef("partition.cell", "=", "placement.cell").onRef("partition.partition", "=", "placement.partition"),
    )
    .where("placement.tenantId", "=", tenantId)
    .select(["placement.cell", "partition.url"])
    .orderBy("placement.cell")
    .execute();
}

/** Marks whether the cells have the tenant: only then are requests sent there. */
export async function setProvisioned(tx: ControlTx, tenantId: string, provisioned: boolean): Promise<void> {
  await tx.updateTable("gateway.placements").set({ provisioned }).where("tenantId", "=", tenantId).execute();
}

/** Returns whether the tenant exists. */
export async function update(tx: ControlTx, tenantId: string, patch: TenantPatch): Promise<boolean> {
  const { numUpdatedRows } = await tx.updateTable("gateway.tenants").set(patch).where("tenantId", "=", tenantId).executeTakeFirst();
  return numUpdatedRows > 0n;
}

/** Deletes the tenant with its keys and placements. */
export async function remove(tx: ControlTx, tenantId: string): Promise<void> {
  await tx.deleteFrom("gateway.apiKeys").where("tenantId", "=", tenantId).execute();
  await tx.deleteFrom("gateway.moves").where("tenantId", "=", tenantId).execute();
  await tx.deleteFrom("gateway.placements").where("tenantId", "=", tenantId).execute();
  await tx.deleteFrom("gateway.tenants").where("tenantId", "=", tenantId).execute();
}
