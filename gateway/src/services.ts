import type { Logger } from "@cell/http";
import { openKysely } from "@cell/postgres";
import { ApiKeys } from "./api-keys.ts";
import { Authenticator } from "./authenticate.ts";
import { Cells } from "./cells.ts";
import type { Config } from "./config.ts";
import { ControlPlane } from "./control-plane.ts";
import { FailedAttempts } from "./failed-attempts.ts";
import { createGatewayMetrics, type GatewayMetrics } from "./metrics.ts";
import { Mover } from "./moves/mover.ts";
import { AccessTokens } from "./oidc/access-tokens.ts";
import { IdentityProvider } from "./oidc/identity-provider.ts";
import { RateLimits } from "./rate-limits.ts";
import type { ControlDb, Tables } from "./tables.ts";
import { Upstreams } from "./upstreams.ts";

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
  cells: Cells;
  mover: Mover;
  /** To be called after a change of the control plane: this process then need not wait for its next look. */
  changed(): void;
  close(): Promise<void>;
}

export function createServices(config: Config, log: Logger): Services {
  const db = openKysely<Tables>({ url: config.databaseUrl, applicationName: "gateway", max: 8 });
  const metrics = createGatewayMetrics();
  const { oidc } = config;
  const identityProvider = oidc && new IdentityProvider(oidc, metrics, log);
  const authenticator = new Authenticator({
    apiKeys: new ApiKeys(db, log),
    accessTokens: oidc && identityProvider && new AccessTokens(oidc, identityProvider, db),
    operatorKey: config.operatorKey,
    attempts: new FailedAttempts(config.failedAttempts, metrics),
    metrics,
    log,
  });
  const changed = () => authenticator.forget();
  const controlPlane = new ControlPlane(db, config.cells, changed, log);
  const rateLimits = new RateLimits(config.rateLimits, metrics);
  const upstreams = new Upstreams(config, metrics);
  const cells = new Cells(config, upstreams);
  const mover = new Mover({ db, cells, changed, log });
  async function close(): Promise<void> {
    controlPlane.stop();
    const stopped = mover.stop();
    identityProvider?.stop();
    await upstreams.close();
    await stopped;
    await db.destroy();
  }
  return { config, log, metrics, db, authenticator, identityProvider, rateLimits, controlPlane, upstreams, cells, mover, changed, close };
}
