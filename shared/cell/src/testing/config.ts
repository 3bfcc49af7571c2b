import { readEnv } from "@cell/http";
import type { TenantLogins } from "@cell/postgres";
import { tenantLogins } from "../cell-config.ts";

/** The mode of logins of tests that name none: TENANT_LOGINS=shared takes the whole suite through the other one. Throws a StartRefused. */
export function testLogins(): TenantLogins {
  return readEnv({ tenantLogins }).tenantLogins;
}
