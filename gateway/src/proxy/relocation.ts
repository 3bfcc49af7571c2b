import { unavailable } from "@cell/problem";
import type { Access } from "../auth/access.ts";
import type { Authenticator } from "../auth/authenticator.ts";
import type { TenantAccess } from "../auth/tenant-access.ts";

/** Why a request was sent to a partition. */
export interface Route {
  access: Access;
  /** Undefined for a caller without one. */
  token: string | undefined;
  cell: string;
}

/** Finds the address of a tenant's current partition, if it differs from a route's. Rejects with UNAVAILABLE otherwise. */
export type FindPartition = (route: Route) => Promise<string>;

export function createFindPartition(authenticator: Authenticator, tenantAccess: TenantAccess): FindPartition {
  return async ({ access, token, cell }) => {
    const found = token === undefined ? await tenantAccess.refresh(access) : await authenticator.refreshPlacement(token, access);
    const url = found.placements.get(cell);
    if (url === undefined || url === access.placements.get(cell)) throw unavailable("This tenant is being moved; try again");
    return url;
  };
}
