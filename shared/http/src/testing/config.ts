export interface FuzzSettings {
  /** Requests per operation. */
  runs: number;
  /** Where the random values begin; the same one makes the same requests. */
  seed: number;
}

/** How hard the fuzz tests try: `FUZZ_RUNS` (15 by default) and `FUZZ_SEED` (another one each time by default). Throws an Error that names the variable. */
export function readFuzzSettings(env: NodeJS.ProcessEnv = process.env): FuzzSettings {
  const integer = (name: string, fallback: number): number => {
    const text = env[name] || String(fallback);
    if (!/^-?\d{1,10}$/.test(text)) throw new Error(`${name} must be a whole number`);
    return Number(text);
  };
  return { runs: integer("FUZZ_RUNS", 15), seed: integer("FUZZ_SEED", Date.now() | 0) };
}
