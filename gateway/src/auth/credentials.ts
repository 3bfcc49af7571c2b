import type { CredentialClass } from "@cell/http";
import type { Access } from "./access.ts";

/** Verifies the tokens of one credential class. Further classes are registered with `startGateway`, and need nothing else. */
export interface CredentialVerifier {
  readonly credential: CredentialClass;
  /** Whether a token is of this class, by its form alone: the first verifier that says so decides about it. */
  recognises(token: string): boolean;
  /**
   * What a token gives. `hash`: its SHA-256. Rejects with an AuthenticationError, or with any other error while the token cannot be checked.
   * The result is cached for a minute at most.
   */
  verify(token: string, hash: Buffer): Promise<Access>;
}
