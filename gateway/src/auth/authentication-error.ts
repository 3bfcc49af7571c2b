import { bearerChallenge } from "@cell/http";
import { Problem } from "@cell/problem";

export interface AuthenticationErrorOptions {
  /** Holds until something in the control plane changes: the error may be cached for a moment. */
  cacheable: boolean;
  /** False if the token was valid once: its sender is not guessing tokens. */
  countsAsAttempt?: boolean;
}

/** 401 for a token, and how to treat it. Contains nothing of the token. */
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
