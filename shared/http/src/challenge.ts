import { Problem } from "@cell/problem";
import type { Permission } from "./permissions.ts";

/** The parameters of a Bearer challenge (RFC 6750). */
export interface Challenge {
  error: "invalid_token" | "insufficient_scope";
  description: string;
  /** The permissions that are missing. */
  scope?: readonly Permission[];
}

const realm = 'Bearer realm="Cell CRM"';

/** The value of `WWW-Authenticate` (RFC 6750, section 3). Without a challenge: the request had no token. */
export function bearerChallenge(challenge?: Challenge): string {
  if (!challenge) return realm;
  const { error, description, scope } = challenge;
  const parts = [realm, `error="${error}"`, `error_description="${quotable(description)}"`];
  if (scope) parts.push(`scope="${scope.join(" ")}"`);
  return parts.join(", ");
}

/** FORBIDDEN for a token without the needed permissions; `scope` lists the missing ones, where permissions are the reason. */
export function insufficientScope(message: string, scope?: readonly Permission[]): Problem {
  const challenge = bearerChallenge({ error: "insufficient_scope", description: message, ...(scope ? { scope } : {}) });
  return new Problem("FORBIDDEN", message, { headers: { "www-authenticate": challenge } });
}

/** Reduces a text to what `error_description` may hold: ASCII without quotes and backslashes. */
function quotable(text: string): string {
  return text.replaceAll('"', "'").replaceAll(/[^\x20-\x5b\x5d-\x7e]/g, "?");
}
