import { type Permission, type Principal, permissions } from "@cell/http";

export const roleNames = ["admin", "manager", "sales", "auditor", "integrator"] as const;
export type Role = (typeof roleNames)[number];

/** What a key can be given. `cell:admin` is the gateway's own. */
export const grantable = permissions.filter((permission) => permission !== "cell:admin");

interface RoleRights {
  permissions: readonly Permission[];
  scope: Principal["scope"];
  actorType: Principal["actorType"];
}

/** Whether a key of a role acts for other users: never one that sees its own user's records alone, whatever it was issued with. */
export function actsForOthers({ role, actAs }: { role: Role; actAs: boolean }): boolean {
  return actAs && roles[role].scope === "tenant";
}

/** What each role may do (`crm.md`, section 4). */
export const roles: Record<Role, RoleRights> = {
  admin: { permissions: grantable, scope: "tenant", actorType: "user" },
  manager: {
    permissions: ["crm:read", "crm:write", "crm:import", "crm:export", "report:read", "pii:read", "amount:read", "pii:reveal", "pii:match"],
    scope: "tenant",
    actorType: "user",
  },
  sales: {
    permissions: ["crm:read", "crm:write", "crm:export", "report:read", "pii:read", "amount:read", "pii:match"],
    scope: "own",
    actorType: "user",
  },
  auditor: { permissions: ["crm:read", "crm:export", "report:read", "audit:read", "amount:read"], scope: "tenant", actorType: "user" },
  integrator: { permissions: ["crm:read", "crm:write", "crm:import", "crm:export", "pii:match"], scope: "tenant", actorType: "service" },
};
