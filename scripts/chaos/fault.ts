import type { Setup, Testbed } from "./testbed.ts";

/** What a round of a fault has to work with. */
export interface Round {
  testbed: Testbed;
  /** From 0. */
  number: number;
  random: () => number;
}

export interface Fault {
  name: string;
  what: string;
  setup: Setup;
  /** Rounds at least, however fast the writes are. */
  rounds: number;
  /** Between two rounds, in ms. */
  restMs: number;
  /** Does it once, and undoes it; resolves when it is over. */
  round(round: Round): Promise<void>;
  /** Every request has to be answered with success or a refusal: nothing may fail. */
  seamless?: boolean;
  /** Part of the short version. */
  smoke?: boolean;
}
