import type { CellDeclaration, Logger } from "@cell/http";
import { openKysely } from "@cell/postgres/control";
import { ApiKeys } from "./auth/api-keys.ts";
import { Authenticator } from "./auth/authenticator.ts";
import { FailedAttempts } from "./auth/failed-attempts.ts";
import type { OidcConfig } from "./auth/oidc/config.ts";
import type { IdentityProvider } from "./auth/oidc/identity-provider.ts";
import { RolePermissions } from "./auth/roles.ts";
import { TenantAccess } from "./auth/tenant-access.ts";
import type { Config } from "./config.ts";
import type { ControlDb, Tables } from "./control-plane/tables.ts";
import { ControlPlane } from "./control-plane/watcher.ts";
import type { GatewayExtensions } from "./extensions.ts";
import { type OpenStream, OpenStreams } from "./limits/open-streams.ts";
import { RateLimits } from "./limits/rate-limits.ts";
import { createGatewayMetrics, type GatewayMetrics } from "./metrics.ts";
import { Mover } from "./moves/mover.ts";
import { CellClient } from "./upstream/cell-client.ts";
import { CellDeclarations } from "./upstream/declarations.ts";
import { Upstreams } from "./upstream/upstreams.ts";

/** The parts of the gateway; nothing connects before it is used. */
export interface Services {
  config: Config;
  log: Logger;
  metrics: GatewayMetrics;
  db: ControlDb;
  authenticator: Authenticator;
  /** Undefined if none is configured. */
  identityProvider: IdentityProvider | undefined;
  rateLimits: RateLimits;
  controlPlane: ControlPlane;
  upstreams: Upstreams;
  cells: CellClient;
  mover: Mover;
  /** Call it after a change of the control plane: this process then notices immediately. */
  changed(): void;
  declarations: CellDeclarations;
  tenantAccess: TenantAccess;
  openStreams: OpenStreams;
  permissions: RolePermissions;
  attempts: FailedAttempts;
  extensions: GatewayExtensions;
  close(): Promise<void>;
}

export async function createServices(config: Config, log: Logger, extensions: GatewayExtensions = {}): Promise<Services> {
  const db = openKysely<Tables>({ url: config.databaseUrl, applicationName: "gateway", max: 8 });
  const metrics = createGatewayMetrics();
  const permissions = new RolePermissions();
  const attempts = new FailedAttempts(config.failedAttempts, metrics);
  const oidc = config.oidc && (await openOidc(config.oidc, { db, permissions, metrics, log }));
  const { verifiers = [], publicTenants = [] } = extensions;
  const authenticator = new Authenticator({
    verifiers: [new ApiKeys(db, permissions, log), ...(oidc ? [oidc.accessTokens] : []), ...verifiers],
    audience: oidc?.accessTokens.audience,
    operatorKey: config.operatorKey,
    permissions,
    attempts,
    metrics,
    log,
  });
  const tenantAccess = new TenantAccess(db, attempts, publicTenants);
  const reauthenticate = ({ access, token }: OpenStream) =>
    token === undefined ? tenantAccess.refresh(access) : authenticator.reauthenticate(token);
  const openStreams = new OpenStreams(config.openStreams, reauthenticate, metrics, log);
  const changed = () => {
    authenticator.forget();
    tenantAccess.forget();
    openStreams.recheck();
  };
  const controlPlane = new ControlPlane(db, config.cells, changed, log);
  const rateLimits = new RateLimits(config.rateLimits, metrics);
  const upstreams = new Upstreams(config, metrics);
  const cells = new CellClient(config, upstreams.cellHttp);
  const declared = (declarations: ReadonlyMap<string, CellDeclaration>) => {
    permissions.update(declarations);
    changed();
  };
  const declarations = new CellDeclarations({ cells: config.cells, db, client: cells, log, changed: declared });
  const mover = new Mover({ db, cells, changed, log });
  async function close(): Promise<void> {
    controlPlane.stop();
    declarations.stop();
    const stopped = mover.stop();
    oidc?.identityProvider.stop();
    upstreams.close();
    await stopped;
    await db.destroy();
  }
  return {
    config,
    log,
    metrics,
    db,
    authenticator,
    identityProvider: oidc?.identityProvider,
    rateLimits,
    controlPlane,
    upstreams,
    cells,
    mover,
    changed,
    declarations,
    tenantAccess,
    openStreams,
    permissions,
    attempts,
    extensions,
    close,
  };
}

/** The token library is only loaded if an identity provider is configured. */
async function openOidc(
  config: OidcConfig,
  { db, permissions, metrics, log }: { db: ControlDb; permissions: RolePermissions; metrics: GatewayMetrics; log: Logger },
) {
  const { AccessTokens } = await import("./auth/oidc/access-tokens.ts");
  const { IdentityProvider } = await import("./auth/oidc/identity-provider.ts");
  const identityProvider = new IdentityProvider(config, metrics, log);
  return { identityProvider, accessTokens: new AccessTokens(config, identityProvider, permissions, db) };
}
