import { Problem } from "@cell/problem";
import type { Permission } from "./assertion.ts";

/** What RFC 6750 says to the client of a token, besides the scheme. */
export interface Challenge {
  error: "invalid_token" | "insufficient_scope";
  description: string;
  /** The permissions that are missing. */
  scope?: readonly Permission[];
}

const realm = 'Bearer realm="Cell CRM"';

/** The value of `WWW-Authenticate` (RFC 6750, section 3); without a challenge, as the request had no token. */
export function bearerChallenge(challenge?: Challenge): string {
  if (!challenge) return realm;
  const { error, description, scope } = challenge;
  const parts = [realm, `error="${error}"`, `error_description="${quotable(description)}"`];
  if (scope) parts.push(`scope="${scope.join(" ")}"`);
  return parts.join(", ");
}

/** FORBIDDEN, for a token whose permissions do not suffice. `scope`: those that are missing, where it is they. */
export function insufficientScope(message: string, scope?: readonly Permission[]): Problem {
  const challenge = bearerChallenge({ error: "insufficient_scope", description: message, ...(scope ? { scope } : {}) });
  return new Problem("FORBIDDEN", message, { headers: { "www-authenticate": challenge } });
}

/** The characters that an `error_description` may have: ASCII without quotes and backslashes. */
function quotable(text: string): string {
  return text.replaceAll('"', "'").replaceAll(/[^\x20-\x5b\x5d-\x7e]/g, "?");
}
