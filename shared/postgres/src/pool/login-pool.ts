import type { Connection, Login } from "./connection.ts";

/** The connections of one login. */
export interface LoginPool {
  readonly login: Login;
  readonly limit: number;
  /** By slot, so that a tenant gets the same ones again. */
  readonly readers: (PooledConnection | undefined)[];
  readonly free: PooledConnection[];
  /** Leased connections other than readers, by role. */
  readonly leased: Map<string, number>;
  open: number;
}
export type PooledConnection = Connection<LoginPool>;

/** The connections of a login's pool that are not leased. */
export function connectionsOf(pool: LoginPool): PooledConnection[] {
  return [...pool.free, ...pool.readers.filter((reader) => reader !== undefined)];
}
