import { integer, list, text, toggle, url, type ValuesOf } from "@cell/http";
import { type Role, roleNames } from "../roles.ts";
import { isFetchable } from "./fetch-json.ts";

/** The identity provider whose access tokens are accepted beside API keys, and how to read them. */
export interface OidcConfig {
  issuer: string;
  audience: string;
  claims: {
    tenant: string;
    roles: string;
    /** Undefined: only the roles decide. */
    permissions: string | undefined;
  };
  /** Our roles by the issuer's names for them. */
  roleNames: ReadonlyMap<string, Role>;
  /** Accepted values of `typ`, in lower case. */
  tokenTypes: readonly string[];
  /** For discovery and keys together. */
  timeoutMs: number;
  /** Interval of reading the keys again. */
  keysRefreshMs: number;
  /** Minimum interval of reading the keys because of an unknown key. */
  keysCooldownMs: number;
  /** Allows plain http on this machine, for development. */
  allowLoopback: boolean;
}

export const oidcSettings = {
  oidcIssuer: url("OIDC_ISSUER", {
    parse: String,
    whenUnset: "only API keys are accepted",
    meaning: "Issuer of the access tokens that are accepted beside API keys, over https.",
  }),
  oidcAudience: text("OIDC_AUDIENCE", { whenUnset: "required with OIDC_ISSUER", meaning: "Required audience of tokens." }),
  oidcTenantClaim: text("OIDC_TENANT_CLAIM", {
    default: "tenant",
    meaning: "Claim with the tenant, or the path to it, such as app.tenant.",
  }),
  oidcRolesClaim: text("OIDC_ROLES_CLAIM", {
    default: "roles",
    meaning: "Claim with the roles, or the path to it, such as realm_access.roles.",
  }),
  oidcPermissionsClaim: text("OIDC_PERMISSIONS_CLAIM", {
    whenUnset: "only the roles decide",
    meaning: "Claim that narrows the permissions that the roles give.",
  }),
  oidcRoles: list("OIDC_ROLES", {
    parse: parseRoleNames,
    whenUnset: "our own names",
    meaning: "The issuer's names for our roles, written theirs=ours.",
  }),
  oidcTokenTypes: list("OIDC_TOKEN_TYPES", {
    default: "at+jwt",
    parse: parseTokenTypes,
    meaning: "Token types that are accepted: at+jwt, or at+jwt,JWT for issuers that write JWT.",
  }),
  oidcTimeoutMs: integer("OIDC_TIMEOUT_MS", {
    default: 3_000,
    min: 1,
    unit: "ms",
    meaning: "Time limit of the provider's discovery document and keys together.",
  }),
  oidcKeysRefreshMs: integer("OIDC_KEYS_REFRESH_MS", {
    default: 600_000,
    min: 1,
    unit: "ms",
    meaning: "Time after which the provider's keys are read again.",
  }),
  oidcKeysCooldownMs: integer("OIDC_KEYS_COOLDOWN_MS", {
    default: 30_000,
    unit: "ms",
    meaning: "Minimum time between two reads of the keys because of tokens with an unknown key.",
  }),
  oidcAllowLoopback: toggle("OIDC_ALLOW_LOOPBACK", {
    default: "0",
    meaning: "1 allows an issuer by plain http on this machine, for development.",
  }),
};

type OidcValues = ValuesOf<typeof oidcSettings>;

/** Reports faults of the issuer, and a missing audience. */
export function checkOidc(
  { oidcIssuer: issuer, oidcAudience, oidcAllowLoopback = false }: Partial<OidcValues>,
  report: (name: string, fault: string) => void,
): void {
  if (issuer === undefined) return;
  if (!isFetchable(issuer, oidcAllowLoopback) || /[?#]/.test(issuer))
    report("OIDC_ISSUER", `must be an https address without login, query or fragment, not "${issuer}"`);
  if (oidcAudience === undefined) report("OIDC_AUDIENCE", "is not set");
}

/** Undefined without an issuer. */
export function oidcConfigOf(values: OidcValues): OidcConfig | undefined {
  const { oidcIssuer: issuer, oidcAudience: audience } = values;
  if (issuer === undefined || audience === undefined) return undefined;
  return {
    issuer,
    audience,
    claims: { tenant: values.oidcTenantClaim, roles: values.oidcRolesClaim, permissions: values.oidcPermissionsClaim },
    roleNames: values.oidcRoles ?? ownRoleNames,
    tokenTypes: values.oidcTokenTypes,
    timeoutMs: values.oidcTimeoutMs,
    keysRefreshMs: values.oidcKeysRefreshMs,
    keysCooldownMs: values.oidcKeysCooldownMs,
    allowLoopback: values.oidcAllowLoopback,
  };
}

/** Our roles under their own names, the default for tokens. */
const ownRoleNames: ReadonlyMap<string, Role> = new Map(roleNames.map((name) => [name, name]));

function parseRoleNames(value: string): ReadonlyMap<string, Role> {
  return new Map(
    value.split(",").map((part) => {
      const [, theirs, name] = /^\s*([^=]*[^=\s])\s*=\s*([a-z]+)\s*$/.exec(part) ?? [];
      const ours = roleNames.find((role) => role === name);
      if (!theirs || !ours) throw new Error(`must be written theirs=ours with one of ${roleNames.join(", ")}, not "${part}"`);
      return [theirs, ours];
    }),
  );
}

function parseTokenTypes(value: string): readonly string[] {
  const types = value.split(",").map((type) => type.trim().toLowerCase());
  const unknown = types.find((type) => type !== "at+jwt" && type !== "jwt");
  if (unknown !== undefined) throw new Error(`must be at+jwt, or at+jwt,JWT, not "${unknown}"`);
  return types;
}
