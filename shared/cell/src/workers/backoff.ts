/** Delays between attempts: doubled with each failure, `maxMs` at most. */
export interface Backoff {
  firstMs: number;
  maxMs: number;
}

/**
 * Milliseconds until the attempt after the failure number `failures`, from 1. `chance`, from 0 to 1, takes up to half of the delay off, so
 * that what failed together is not tried again together.
 */
export function backoffMs(failures: number, { firstMs, maxMs }: Backoff, chance = Math.random()): number {
  const delayMs = Math.min(maxMs, firstMs * 2 ** (failures - 1));
  return Math.round(delayMs * (1 - chance / 2));
}
