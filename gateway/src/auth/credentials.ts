import type { CredentialClass } from "@cell/http";
import type { Access } from "./access.ts";

/** Verifies the tokens of one credential class. Further classes only need to be registered with `startGateway`. */
export interface CredentialVerifier {
  readonly credential: CredentialClass;
  /** Whether a token is of this class, by its form only; the first verifier that recognizes it decides. */
  recognises(token: string): boolean;
  /**
   * The rights of a token. `hash`: its SHA-256. Rejects with an AuthenticationError, or with any other error while the token cannot be
   * checked.
   * The result is cached for at most a minute.
   */
  verify(token: string, hash: Buffer): Promise<Access>;
}
