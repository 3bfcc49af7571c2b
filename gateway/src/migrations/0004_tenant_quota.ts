import type { SchemaMigration } from "@cell/postgres";

export const tenantQuota: SchemaMigration = {
  name: "0004_tenant_quota",
  // Storage quota in a cell in bytes; null: no limit.
  sql: ["alter table gateway.tenants add column quota_bytes bigint check (quota_bytes >= 0)"],
};
