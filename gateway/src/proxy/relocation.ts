import { unavailable } from "@cell/problem";
import type { Access } from "../auth/access.ts";
import type { Authenticator } from "../auth/authenticator.ts";
import type { TenantAccess } from "../auth/tenant-access.ts";

/** On what grounds a request was sent to a partition. */
export interface Route {
  access: Access;
  /** Undefined for a caller without one. */
  token: string | undefined;
  cell: string;
}

/** Finds the address of the partition that a tenant is in, when it is not where a route says. Rejects with UNAVAILABLE where it is nowhere else. */
export type FindPartition = (route: Route) => Promise<string>;

export function createFindPartition(authenticator: Authenticator, tenantAccess: TenantAccess): FindPartition {
  return async ({ access, token, cell }) => {
    const found = token === undefined ? await tenantAccess.refresh(access) : await authenticator.refreshPlacement(token, access);
    const url = found.placements.get(cell);
    if (url === undefined || url === access.placements.get(cell)) throw unavailable("This tenant is being moved; try again");
    return url;
  };
}
