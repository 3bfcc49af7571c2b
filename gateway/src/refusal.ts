import { bearerChallenge } from "@cell/http";
import { Problem } from "@cell/problem";

export interface RefusalOptions {
  /** It will be refused again, as long as nothing changes in the control plane: the verdict may be kept for a moment. */
  lasting: boolean;
  /** False when the token was once a good one: whoever sends it is not trying tokens out. */
  guess?: boolean;
}

/** 401 for a token, with what follows from it. Holds nothing of the token. */
export class Refusal extends Problem {
  readonly lasting: boolean;
  readonly guess: boolean;

  constructor(message: string, { lasting, guess = true }: RefusalOptions) {
    const challenge = bearerChallenge({ error: "invalid_token", description: message });
    super("UNAUTHORIZED", message, { headers: { "www-authenticate": challenge } });
    this.lasting = lasting;
    this.guess = guess;
  }
}
