import type { LoginPool, PooledConnection } from "./login-pool.ts";

/** A reader with this many queries in flight gets a second one, if the tenant may have one. */
export const busyReader = 8;

/** The readers that a tenant may use: the least busy one, and a slot without one. */
export interface ReaderChoice {
  best: PooledConnection | undefined;
  vacant: number | undefined;
}

/** Looks at the tenant's readers, from its own slot on. Readers are pipelined: each serves the reads of many requests at once. */
export function chooseReader(pool: LoginPool, first: number, readersPerTenant: number): ReaderChoice {
  // On a shared login a tenant stays with one reader for as long as possible: each backend keeps catalogue entries of every tenant that
  // it serves.
  const few = pool.readers.length > readersPerTenant ? busyReader / 2 : 0;
  const choice: ReaderChoice = { best: undefined, vacant: undefined };
  for (let step = 0; step < readersPerTenant; step++) {
    const slot = (first + step) % pool.readers.length;
    const reader = pool.readers[slot];
    if (!reader) choice.vacant ??= slot;
    else if (!choice.best || Math.max(reader.load, few) < Math.max(choice.best.load, few)) choice.best = reader;
  }
  return choice;
}
