import { decodeProtectedHeader, errors, type JWTPayload, jwtVerify, type ProtectedHeaderParameters } from "jose";
import type { ControlDb } from "../../control-plane/tables.ts";
import { type Access, quotaPart, tenantPart } from "../access.ts";
import { AuthenticationError } from "../authentication-error.ts";
import type { CredentialVerifier } from "../credentials.ts";
import { findPlacedTenant } from "../placed-tenant.ts";
import type { RolePermissions } from "../roles.ts";
import { rightsOf } from "./claims.ts";
import type { OidcConfig } from "./config.ts";
import type { IdentityProvider } from "./identity-provider.ts";
import { formsOf } from "./issuer.ts";

const algorithms = ["RS256", "PS256", "ES256", "EdDSA"];
const toleranceSeconds = 30;
const tokenLimit = 8_192;
/** The form of a signed JWT: three parts in base64url. */
const tokenPattern = /^[\w-]+\.[\w-]+\.[\w-]+$/;
/** Headers by which a token would choose its own key or need special processing. */
const forbiddenHeaders = ["crit", "jku", "jwk", "x5u", "x5c", "b64", "zip"];

/** Verifies the access tokens of one OIDC issuer (RFC 9068, RFC 8725). */
export class AccessTokens implements CredentialVerifier {
  readonly credential = "jwt";
  readonly #config: OidcConfig;
  readonly #provider: IdentityProvider;
  readonly #permissions: RolePermissions;
  readonly #db: ControlDb;

  constructor(config: OidcConfig, provider: IdentityProvider, permissions: RolePermissions, db: ControlDb) {
    this.#config = config;
    this.#provider = provider;
    this.#permissions = permissions;
    this.#db = db;
  }

  recognises(token: string): boolean {
    return tokenPattern.test(token);
  }

  /** The audience that tokens must have. */
  get audience(): string {
    return this.#config.audience;
  }

  /**
   * The rights of the token. Rejects with an AuthenticationError, with UNAVAILABLE while the issuer's keys were never read, or with the
   * database's error.
   */
  async verify(token: string): Promise<Access> {
    if (token.length > tokenLimit) throw refused(`it exceeds ${tokenLimit} characters`);
    this.#checkHeader(readHeader(token));
    const payload = await this.#verifySignature(token);
    const { tenantId, ...rights } = rightsOf(payload, this.#config, this.#permissions);
    const rows = await findPlacedTenant(this.#db, tenantId);
    if (rows.length === 0)
      throw new AuthenticationError("The tenant of this token does not exist here", { cacheable: false, countsAsAttempt: false });
    return {
      operator: false,
      credential: "jwt",
      tokenId: `oidc:${rights.userId}`,
      principal: { tenantId, ...rights, ...quotaPart(rows), credential: "jwt" },
      actAs: false,
      ...tenantPart(rows),
      expiresAtMs: (Number(payload.exp) + toleranceSeconds) * 1000,
    };
  }

  #checkHeader(header: ProtectedHeaderParameters): void {
    const forbidden = forbiddenHeaders.find((name) => Object.hasOwn(header, name));
    if (forbidden) throw refused(`its header must not have ${forbidden}`);
    if (!algorithms.includes(header.alg ?? "")) throw refused(`its algorithm must be one of ${algorithms.join(", ")}`);
    const type = typeof header.typ === "string" ? header.typ.toLowerCase().replace(/^application\//, "") : "";
    if (!this.#config.tokenTypes.includes(type)) throw refused(`its type must be ${this.#config.tokenTypes.join(" or ")}`);
    if (typeof header.kid !== "string" || header.kid === "") throw refused("its header must name the key, in kid");
  }

  async #verifySignature(token: string): Promise<JWTPayload> {
    const { issuer, audience } = this.#config;
    try {
      const { payload } = await jwtVerify(token, (header) => this.#provider.key(header), {
        algorithms,
        issuer: formsOf(issuer),
        audience,
        clockTolerance: toleranceSeconds,
        requiredClaims: ["iss", "aud", "exp", "iat", "sub"],
      });
      if (Number(payload.iat) > Date.now() / 1000 + toleranceSeconds) throw refused("it was issued in the future", { cacheable: false });
      return payload;
    } catch (error) {
      // The library throws other errors for a published key that is invalid or too short.
      if (error instanceof TypeError || error instanceof DOMException)
        throw refused("the issuer's key for it cannot be used", { cacheable: false });
      throw error instanceof errors.JOSEError ? authenticationErrorOf(error) : error;
    }
  }
}

function readHeader(token: string): ProtectedHeaderParameters {
  try {
    return decodeProtectedHeader(token);
  } catch (error) {
    if (error instanceof TypeError || error instanceof errors.JOSEError) throw refused("its header cannot be read");
    throw error;
  }
}

/** Maps the library's error to ours; the original contains the payload and must not be logged. */
function authenticationErrorOf(error: errors.JOSEError): AuthenticationError {
  if (error instanceof errors.JWTExpired) return refused("it has expired", { cacheable: true, countsAsAttempt: false });
  if (error instanceof errors.JWKSNoMatchingKey) return refused("its key is not one of the issuer's", { cacheable: false });
  if (!(error instanceof errors.JWTClaimValidationFailed)) return refused("its signature is invalid");
  if (error.claim === "nbf") return refused("it is not valid yet", { cacheable: false, countsAsAttempt: false });
  return refused(`its claim ${error.claim} is missing or not the right one`);
}

function refused(why: string, options: { cacheable: boolean; countsAsAttempt?: boolean } = { cacheable: true }): AuthenticationError {
  return new AuthenticationError(`This access token is rejected: ${why}`, options);
}
