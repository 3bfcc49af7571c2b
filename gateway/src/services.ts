import type { Logger } from "@cell/http";
import { openKysely } from "@cell/postgres/control";
import { ApiKeys } from "./auth/api-keys.ts";
import { Authenticator } from "./auth/authenticator.ts";
import { FailedAttempts } from "./auth/failed-attempts.ts";
import type { OidcConfig } from "./auth/oidc/config.ts";
import type { IdentityProvider } from "./auth/oidc/identity-provider.ts";
import type { Config } from "./config.ts";
import type { ControlDb, Tables } from "./control-plane/tables.ts";
import { ControlPlane } from "./control-plane/watcher.ts";
import { RateLimits } from "./limits/rate-limits.ts";
import { createGatewayMetrics, type GatewayMetrics } from "./metrics.ts";
import { Mover } from "./moves/mover.ts";
import { CellClient } from "./upstream/cell-client.ts";
import { Upstreams } from "./upstream/upstreams.ts";

/** What the gateway is made of; nothing is connected before it is used. */
export interface Services {
  config: Config;
  log: Logger;
  metrics: GatewayMetrics;
  db: ControlDb;
  authenticator: Authenticator;
  /** Undefined where none is configured. */
  identityProvider: IdentityProvider | undefined;
  rateLimits: RateLimits;
  controlPlane: ControlPlane;
  upstreams: Upstreams;
  cells: CellClient;
  mover: Mover;
  /** To be called after a change of the control plane: this process then need not wait for its next look. */
  changed(): void;
  close(): Promise<void>;
}

export async function createServices(config: Config, log: Logger): Promise<Services> {
  const db = openKysely<Tables>({ url: config.databaseUrl, applicationName: "gateway", max: 8 });
  const metrics = createGatewayMetrics();
  const oidc = config.oidc && (await openOidc(config.oidc, db, metrics, log));
  const authenticator = new Authenticator({
    apiKeys: new ApiKeys(db, log),
    accessTokens: oidc?.accessTokens,
    operatorKey: config.operatorKey,
    attempts: new FailedAttempts(config.failedAttempts, metrics),
    metrics,
    log,
  });
  const changed = () => authenticator.forget();
  const controlPlane = new ControlPlane(db, config.cells, changed, log);
  const rateLimits = new RateLimits(config.rateLimits, metrics);
  const upstreams = new Upstreams(config, metrics);
  const cells = new CellClient(config, upstreams.cellHttp);
  const mover = new Mover({ db, cells, changed, log });
  async function close(): Promise<void> {
    controlPlane.stop();
    const stopped = mover.stop();
    oidc?.identityProvider.stop();
    upstreams.close();
    await stopped;
    await db.destroy();
  }
  const { identityProvider } = oidc ?? {};
  return { config, log, metrics, db, authenticator, identityProvider, rateLimits, controlPlane, upstreams, cells, mover, changed, close };
}

/** What verifies tokens is loaded only where an identity provider is configured. */
async function openOidc(config: OidcConfig, db: ControlDb, metrics: GatewayMetrics, log: Logger) {
  const { AccessTokens } = await import("./auth/oidc/access-tokens.ts");
  const { IdentityProvider } = await import("./auth/oidc/identity-provider.ts");
  const identityProvider = new IdentityProvider(config, metrics, log);
  return { identityProvider, accessTokens: new AccessTokens(config, identityProvider, db) };
}
