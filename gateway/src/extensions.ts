import type { CredentialVerifier } from "./auth/credentials.ts";
import type { PublicTenant } from "./auth/tenant-access.ts";
import type { WebhookVerifier } from "./proxy/webhooks.ts";

/** What `startGateway` takes besides its settings: credentials that are not the platform's own. The forwarding code knows none of them. */
export interface GatewayExtensions {
  /** Of session tokens and customer tokens; asked after API keys and access tokens. */
  verifiers?: readonly CredentialVerifier[];
  /** Ways to find the tenant of a request without a credential; asked before `X-Tenant-Id`. */
  publicTenants?: readonly PublicTenant[];
  /** Of signed webhooks; routes name them in `webhook`. */
  webhooks?: readonly WebhookVerifier[];
}
