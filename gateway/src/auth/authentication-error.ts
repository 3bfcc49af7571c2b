import { bearerChallenge } from "@cell/http";
import { Problem } from "@cell/problem";

export interface AuthenticationErrorOptions {
  /** It will be refused again, as long as nothing changes in the control plane: the verdict may be kept for a moment. */
  cacheable: boolean;
  /** False when the token was once a good one: whoever sends it is not trying tokens out. */
  countsAsAttempt?: boolean;
}

/** 401 for a token, with what follows from it. Holds nothing of the token. */
export class AuthenticationError extends Problem {
  readonly cacheable: boolean;
  readonly countsAsAttempt: boolean;

  constructor(message: string, { cacheable, countsAsAttempt = true }: AuthenticationErrorOptions) {
    const challenge = bearerChallenge({ error: "invalid_token", description: message });
    super("UNAUTHORIZED", message, { headers: { "www-authenticate": challenge } });
    this.cacheable = cacheable;
    this.countsAsAttempt = countsAsAttempt;
  }
}
