import type { Sample } from "./sample.ts";

/** One of the compared things. */
export interface Side {
  name: string;
  run(seconds: number, round: number): Promise<Sample>;
}

/** A side with its sample of each round. */
export interface Measured {
  name: string;
  samples: Sample[];
}

/** A side that cannot run here, because its tool is missing, has no samples. */
export type MeasuredSides<Sides> = { [Name in keyof Sides]: undefined extends Sides[Name] ? Measured | undefined : Measured };

/** Runs the sides of each round in sequence, in the opposite order every second round. */
export async function interleave<Sides extends Record<string, Side | undefined>>(
  sides: Sides,
  { rounds, seconds }: { rounds: number; seconds: number },
): Promise<MeasuredSides<Sides>> {
  const measured: Record<string, Measured> = {};
  const present = Object.entries(sides).flatMap(([key, side]) => (side ? [[key, side] as const] : []));
  for (const [key, { name }] of present) measured[key] = { name, samples: [] };
  for (let round = 0; round < rounds; round++) {
    for (const [key, side] of round % 2 === 0 ? present : present.toReversed()) measured[key]?.samples.push(await side.run(seconds, round));
  }
  return measured as MeasuredSides<Sides>;
}
