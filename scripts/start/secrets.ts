import { createHmac, generateKeyPairSync, randomBytes } from "node:crypto";
import { join } from "node:path";
import { readJson, writePrivately } from "./files.ts";

export interface Secrets {
  /** `id:base64url` of 32 bytes: the gateway signs assertions with it. */
  assertionKeys: string;
  operatorKey: string;
  /** Bearer token of the programs' metrics. */
  metricsToken: string;
  /** The passwords of the tenants' database logins are derived from it. */
  tenantLoginSecret: string;
  /** Ed25519, PKCS#8 in PEM: seals the audit trails. */
  sealKey: string;
  /** `id:base64url` of 32 bytes: the secrets of webhooks are derived from it. */
  webhookKeys: string;
}

/** The secrets of this data directory, created once and stored in `secrets.json`. */
export function keepSecrets(dataDir: string): Secrets {
  const path = join(dataDir, "secrets.json");
  const stored = readJson<Partial<Secrets>>(path);
  const secrets = { ...newSecrets(), ...stored };
  if (!stored || Object.keys(stored).length < Object.keys(secrets).length) writePrivately(path, secrets);
  return secrets;
}

/** Passwords of the programs' database roles. */
export function rolePasswords({ tenantLoginSecret }: Secrets): { crm: string; gateway: string } {
  const passwordOf = (role: string) => createHmac("sha256", tenantLoginSecret).update(`role ${role}`).digest("base64url");
  return { crm: passwordOf("crm"), gateway: passwordOf("gateway") };
}

function newSecrets(): Secrets {
  const random = (bytes: number) => randomBytes(bytes).toString("base64url");
  return {
    assertionKeys: `k1:${random(32)}`,
    operatorKey: `crm_operator_${random(24)}`,
    metricsToken: random(24),
    tenantLoginSecret: random(32),
    sealKey: generateKeyPairSync("ed25519").privateKey.export({ type: "pkcs8", format: "pem" }).toString(),
    webhookKeys: `k1:${random(32)}`,
  };
}
