import { frameworkPermissions, type Permission } from "@cell/http";

/** The cell's own permissions. */
export const permissions = ["crm:read", "crm:write", "crm:import", "crm:export", "report:read"] as const;

/** Which of them each role has; the roles themselves, and their framework permissions, are the gateway's. */
export const roles: Readonly<Record<string, readonly (typeof permissions)[number][]>> = {
  admin: permissions,
  manager: permissions,
  sales: ["crm:read", "crm:write", "crm:export", "report:read"],
  auditor: ["crm:read", "crm:export", "report:read"],
  integrator: ["crm:read", "crm:write", "crm:import", "crm:export"],
};

/** Every permission that a user of a tenant can have in this cell. */
export const allPermissions: readonly Permission[] = [...permissions, ...frameworkPermissions];
