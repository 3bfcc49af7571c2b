import type { SchemaMigration } from "@cell/postgres";

export const tenantRateLimit: SchemaMigration = {
  name: "0003_tenant_rate_limit",
  // Requests per second; null: the gateway's setting, 0: no limit.
  sql: ["alter table gateway.tenants add column rate_limit integer check (rate_limit >= 0)"],
};
