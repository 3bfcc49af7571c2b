import type { Setup, Testbed } from "./testbed.ts";

/** Context of one round of a fault. */
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
  /** Injects the fault once, and undoes it; resolves when it is over. */
  round(round: Round): Promise<void>;
  /** Every request must succeed or be rejected properly: none may fail. */
  seamless?: boolean;
  /** Part of the short version. */
  smoke?: boolean;
}
