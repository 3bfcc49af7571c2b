import { newCustomer } from "./requests.ts";
import type { TestTenant } from "./tenants.ts";
import { inspect } from "./test-crm.ts";

/** What tests do to the audit trail of the tenant that they have at the time. */
export function trailOf(given: () => TestTenant) {
  return {
    /** Creates a customer, which makes an entry; resolves to the customer's id. */
    create: (name: string) => newCustomer(given().admin, name),
    /** Runs SQL that no login of the cell may run. */
    asSuperuser: (sql: string) => inspect(given().tenantId, sql),
    /** The body of GET /audit-logs/verify. */
    verify: async () => (await given().admin.get("/audit-logs/verify")).body,
    /** Seals every entry. */
    seal: () => given().cell.sealAll(given().tenantId),
  };
}
