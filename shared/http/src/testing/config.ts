export interface FuzzSettings {
  /** Requests per operation. */
  runs: number;
  /** Seed of the random values; the same seed makes the same requests. */
  seed: number;
}

/** Effort of the fuzz tests: `FUZZ_RUNS` (default: 15) and `FUZZ_SEED` (default: random). Throws an Error that names the variable. */
export function readFuzzSettings(env: NodeJS.ProcessEnv = process.env): FuzzSettings {
  const integer = (name: string, fallback: number): number => {
    const text = env[name] || String(fallback);
    if (!/^-?\d{1,10}$/.test(text)) throw new Error(`${name} must be a whole number`);
    return Number(text);
  };
  return { runs: integer("FUZZ_RUNS", 15), seed: integer("FUZZ_SEED", Date.now() | 0) };
}
