import type { Access } from "./connection.ts";
import type { LoginPool, PooledConnection } from "./login-pool.ts";

/** Number of connections that a tenant has leased; undefined if it may have no more. Without a tenant, as for a reader, there is no limit. */
export function leasedBy(pool: LoginPool, access: Access | undefined, perTenant: number): number | undefined {
  const leased = access === undefined ? 0 : (pool.leased.get(access.role) ?? 0);
  return leased < perTenant ? leased : undefined;
}

/** Counts a lease of a role that begins (1) or ends (-1). */
export function countLease({ leased }: LoginPool, role: string, by: 1 | -1): void {
  const sum = (leased.get(role) ?? 0) + by;
  if (sum > 0) leased.set(role, sum);
  else leased.delete(role);
}

/**
 * The connection opened for the tenant or for the slot next to it, so that each backend serves few tenants. Among equals, the most recently
 * used one.
 */
export function nearest(connections: readonly PooledConnection[], slot: number): PooledConnection | undefined {
  let found: PooledConnection | undefined;
  let least = Number.POSITIVE_INFINITY;
  for (const connection of connections) {
    const distance = (connection.slot - slot) & 0xffff;
    if (distance <= least) [found, least] = [connection, distance];
  }
  return found;
}
