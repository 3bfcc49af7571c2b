import { type CellDeclaration, frameworkPermissions, type Permission, type Principal } from "@cell/http";

export const roleNames = ["admin", "manager", "sales", "auditor", "integrator"] as const;
export type Role = (typeof roleNames)[number];

interface RoleRights {
  /** Of the framework's; what else a role may do each cell declares. */
  permissions: readonly (typeof frameworkPermissions)[number][];
  scope: Principal["scope"];
  actorType: Principal["actorType"];
}

/** What the platform gives each role in every cell. */
export const roles: Record<Role, RoleRights> = {
  admin: { permissions: frameworkPermissions, scope: "tenant", actorType: "user" },
  manager: { permissions: ["pii:read", "amount:read", "pii:reveal", "pii:match"], scope: "tenant", actorType: "user" },
  sales: { permissions: ["pii:read", "amount:read", "pii:match"], scope: "own", actorType: "user" },
  auditor: { permissions: ["audit:read", "amount:read"], scope: "tenant", actorType: "user" },
  integrator: { permissions: ["pii:match"], scope: "tenant", actorType: "service" },
};

/** Whether a key of a role acts for other users: never one that sees its own user's records alone, whatever it was issued with. */
export function actsForOthers({ role, actAs }: { role: Role; actAs: boolean }): boolean {
  return actAs && roles[role].scope === "tenant";
}

/** The permissions that exist, and which of them each role has: the framework's, and what the cells declare. */
export class RolePermissions {
  #grantable: readonly Permission[] = frameworkPermissions;
  #byRole: ReadonlyMap<Role, readonly Permission[]> = new Map();

  constructor() {
    this.update(new Map());
  }

  /** Every permission that a key can be given. */
  get grantable(): readonly Permission[] {
    return this.#grantable;
  }

  of(role: Role): readonly Permission[] {
    return this.#byRole.get(role) ?? [];
  }

  /** Takes what each cell declares. A permission belongs to the first cell that declares it: no other one can give it to a role. */
  update(declarations: ReadonlyMap<string, CellDeclaration>): void {
    const owners = new Map<Permission, string>();
    for (const [cell, { permissions }] of declarations) {
      for (const permission of permissions) if (!owners.has(permission)) owners.set(permission, cell);
    }
    this.#grantable = [...owners.keys(), ...frameworkPermissions];
    this.#byRole = new Map(
      roleNames.map((role) => {
        const declared = [...declarations].flatMap(([cell, declaration]) =>
          (declaration.roles[role] ?? []).filter((permission) => owners.get(permission) === cell),
        );
        return [role, [...declared, ...roles[role].permissions]];
      }),
    );
  }
}
