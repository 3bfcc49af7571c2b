import type { SchemaMigration } from "@cell/postgres";

export const tenantQuota: SchemaMigration = {
  name: "0004_tenant_quota",
  // Bytes that a tenant may store in a cell; null for no limit.
  sql: ["alter table gateway.tenants add column quota_bytes bigint check (quota_bytes >= 0)"],
};
