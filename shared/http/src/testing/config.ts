import { type Environment, integer, readEnv } from "../env.ts";

export interface FuzzSettings {
  /** Requests per operation. */
  runs: number;
  /** Seed of the random values; the same seed makes the same requests. */
  seed: number;
}

/** How hard the fuzz tests try; tests read these variables. */
export const fuzzSettings = {
  runs: integer("FUZZ_RUNS", { default: 15, min: 1, unit: "requests", meaning: "Requests with which each operation is fuzzed." }),
  seed: integer("FUZZ_SEED", {
    min: -(2 ** 31),
    max: 2 ** 31 - 1,
    whenUnset: "another one each time",
    meaning: "Where the random values begin; the same one makes the same requests.",
  }),
};

/** Throws a StartRefused that names every variable that is wrong. */
export function readFuzzSettings(env?: Environment): FuzzSettings {
  const { runs, seed = Date.now() | 0 } = readEnv(fuzzSettings, env);
  return { runs, seed };
}
