import type { CredentialVerifier } from "./auth/credentials.ts";
import type { PublicTenant } from "./auth/tenant-access.ts";
import type { WebhookVerifier } from "./proxy/webhooks.ts";

/**
 * Extensions of `startGateway` besides its settings: credentials other than the platform's own. The forwarding code does not depend on
 * them.
 */
export interface GatewayExtensions {
  /** For session tokens and customer tokens; tried after API keys and access tokens. */
  verifiers?: readonly CredentialVerifier[];
  /** Find the tenant of a request without a credential; tried before `X-Tenant-Id`. */
  publicTenants?: readonly PublicTenant[];
  /** For signed webhooks; routes name them in `webhook`. */
  webhooks?: readonly WebhookVerifier[];
}
