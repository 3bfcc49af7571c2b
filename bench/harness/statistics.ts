/** A limit that varies by more than this between the rounds makes the comparison void. */
const steadySpread = 0.2;

/** The median; of an even number, the mean of the two middle values. Throws for none. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const upper = sorted[Math.floor(sorted.length / 2)];
  const lower = sorted[Math.ceil(sorted.length / 2) - 1];
  if (upper === undefined || lower === undefined) throw new Error("There is no median of nothing");
  return (lower + upper) / 2;
}

/** The value below which this share (0 to 1) lies, by the nearest rank. */
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

/** Ratio per round, so that disturbances of a whole round cancel out. Throws if the two were not measured in the same rounds. */
export function ratiosByRound(values: readonly number[], limits: readonly number[]): number[] {
  if (values.length !== limits.length) throw new Error(`${values.length} rounds cannot be compared with ${limits.length}`);
  return values.map((value, round) => value / (limits[round] ?? Number.NaN));
}

/** True if the limit varied too much between the rounds: by more than a fifth of its median. */
export function isVoid(limits: readonly number[]): boolean {
  const { median: middle, min, max } = spreadOf(limits);
  return (max - min) / middle > steadySpread;
}
