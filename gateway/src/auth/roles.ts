import { type CellDeclaration, frameworkPermissions, type Permission, type Principal } from "@cell/http";

export const roleNames = ["admin", "manager", "sales", "auditor", "integrator"] as const;
export type Role = (typeof roleNames)[number];

interface RoleRights {
  /** Permissions of the framework; each cell declares further ones. */
  permissions: readonly (typeof frameworkPermissions)[number][];
  scope: Principal["scope"];
  actorType: Principal["actorType"];
}

/** The platform's rights of each role in every cell. */
export const roles: Record<Role, RoleRights> = {
  admin: { permissions: frameworkPermissions, scope: "tenant", actorType: "user" },
  manager: { permissions: ["pii:read", "amount:read", "pii:reveal", "pii:match"], scope: "tenant", actorType: "user" },
  sales: { permissions: ["pii:read", "amount:read", "pii:match"], scope: "own", actorType: "user" },
  auditor: { permissions: ["audit:read", "amount:read"], scope: "tenant", actorType: "user" },
  integrator: { permissions: ["pii:match"], scope: "tenant", actorType: "service" },
};

/** Whether a key may act for other users: never with a role limited to its own user's records, whatever it was issued with. */
export function actsForOthers({ role, actAs }: { role: Role; actAs: boolean }): boolean {
  return actAs && roles[role].scope === "tenant";
}

/** The existing permissions, and those of each role: the framework's and the cells' declared ones. */
export class RolePermissions {
  #grantable: readonly Permission[] = frameworkPermissions;
  #byRole: ReadonlyMap<Role, readonly Permission[]> = new Map();

  constructor() {
    this.update(new Map());
  }

  /** Every permission that a key can have. */
  get grantable(): readonly Permission[] {
    return this.#grantable;
  }

  of(role: Role): readonly Permission[] {
    return this.#byRole.get(role) ?? [];
  }

  /** Applies each cell's declaration. A permission belongs to the first cell that declares it: other cells cannot give it to a role. */
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
