import type { IncomingHttpHeaders } from "node:http";
import type { CredentialClass } from "@cell/http";
import { badField, notFound } from "@cell/problem";
import { LRUCache } from "lru-cache";
import type { ControlDb } from "../control-plane/tables.ts";
import { type Access, quotaPart, tenantPart } from "./access.ts";
import { networkOf } from "./client-address.ts";
import type { FailedAttempts } from "./failed-attempts.ts";
import { findPlacedTenant } from "./placed-tenant.ts";

/** The part of a public request that may identify its tenant. */
export interface PublicRequest {
  headers: IncomingHttpHeaders;
  /** The query's parameters. */
  query: URLSearchParams;
}

/** The tenant's id of a request without a credential; undefined if the request does not name one. */
export type PublicTenant = (request: PublicRequest) => string | undefined | Promise<string | undefined>;

const lifetimeMs = 60_000;
const tenantLimit = 20_000;

/** Access of callers without a user's credential: on public routes, and senders of webhooks. It has no permissions. */
export class TenantAccess {
  readonly #db: ControlDb;
  readonly #attempts: FailedAttempts;
  readonly #publicTenants: readonly PublicTenant[];
  readonly #cache = new LRUCache<string, Access>({ max: tenantLimit, ttl: lifetimeMs });
  #generation = 0;

  constructor(db: ControlDb, attempts: FailedAttempts, publicTenants: readonly PublicTenant[]) {
    this.#db = db;
    this.#attempts = attempts;
    this.#publicTenants = [...publicTenants, ({ headers }) => headers["x-tenant-id"] as string | undefined];
  }

  /**
   * The access of a caller on a public route. Rejects with BAD_REQUEST if the request names no tenant, with NOT_FOUND for an unknown one,
   * and with RATE_LIMITED after too many unknown ones from `address`, which also identifies the caller for rate limits.
   */
  async ofPublic(headers: IncomingHttpHeaders, query: string, address: string): Promise<Access> {
    this.#attempts.check(address);
    const tenantId = await this.#tenantOf({ headers, query: new URLSearchParams(query) });
    if (tenantId === undefined) throw badField("X-Tenant-Id", "REQUIRED", "send the tenant that this is for");
    const access = await this.find("public", "public", tenantId);
    if (access) return { ...access, tokenId: `public:${networkOf(address)}` };
    this.#attempts.failed(address);
    throw notFound("Tenant");
  }

  async #tenantOf(request: PublicRequest): Promise<string | undefined> {
    for (const find of this.#publicTenants) {
      const tenantId = await find(request);
      if (tenantId !== undefined) return tenantId;
    }
    return undefined;
  }

  /** The access to a tenant for a credential class and a name; undefined if there is no such tenant. Rejects with the database's error. */
  async find(credential: CredentialClass, userId: string, tenantId: string): Promise<Access | undefined> {
    const key = `${userId} ${tenantId}`;
    const cached = this.#cache.get(key);
    if (cached) return cached;
    const generation = this.#generation;
    const rows = await findPlacedTenant(this.#db, tenantId);
    if (rows.length === 0) return undefined;
    const access: Access = {
      operator: false,
      credential,
      tokenId: userId,
      principal: { tenantId, userId, actorType: "service", permissions: [], scope: "own", credential, ...quotaPart(rows) },
      actAs: false,
      ...tenantPart(rows),
      expiresAtMs: Number.POSITIVE_INFINITY,
    };
    if (generation === this.#generation) this.#cache.set(key, access);
    return access;
  }

  /** Looks the tenant of a public access up again. */
  async refresh({ credential, principal }: Access): Promise<Access> {
    this.#cache.delete(`${principal.userId} ${principal.tenantId}`);
    const access = await this.find(credential, principal.userId, principal.tenantId);
    if (!access) throw notFound("Tenant");
    return access;
  }

  /** Invalidates all cached tenants: something in the control plane has changed. */
  forget(): void {
    this.#generation++;
    this.#cache.clear();
  }
}
