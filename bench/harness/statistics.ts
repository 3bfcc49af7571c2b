/** A limit that spread by more than this between the rounds says nothing of what was measured against it. */
const steadySpread = 0.2;

/** The middle value; the mean of the two middle ones of an even number. Throws for none. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const upper = sorted[Math.floor(sorted.length / 2)];
  const lower = sorted[Math.ceil(sorted.length / 2) - 1];
  if (upper === undefined || lower === undefined) throw new Error("There is no median of nothing");
  return (lower + upper) / 2;
}

/** The value below which this share (0 to 1) of all lie, by the nearest rank. */
export function percentile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  const value = sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)];
  if (value === undefined) throw new Error("There is no percentile of nothing");
  return value;
}

export interface Spread {
  median: number;
  min: number;
  max: number;
}

export function spreadOf(values: readonly number[]): Spread {
  return { median: median(values), min: Math.min(...values), max: Math.max(...values) };
}

/** Round by round, so that what slowed a whole round down cancels out. Throws when the two were not measured in the same rounds. */
export function ratiosByRound(values: readonly number[], limits: readonly number[]): number[] {
  if (values.length !== limits.length) throw new Error(`${values.length} rounds cannot be compared with ${limits.length}`);
  return values.map((value, round) => value / (limits[round] ?? Number.NaN));
}

/** True when the limit was not the same thing in all rounds: from its lowest to its highest more than a fifth of its median. */
export function isVoid(limits: readonly number[]): boolean {
  const { median: middle, min, max } = spreadOf(limits);
  return (max - min) / middle > steadySpread;
}
