import type { Key } from "../admin/keys/schema.ts";
import type { Client } from "./client.ts";
import { printTable } from "./output.ts";
import { allPages } from "./tenants.ts";

const path = "/api/admin/keys";
type IssuedKey = Key & { key: string };

export interface IssueOptions {
  tenant?: string;
  user: string;
  role: string;
  permissions?: string;
  expires?: string;
  actAs?: boolean;
  name?: string;
}

export async function issueKey(client: Client, options: IssueOptions): Promise<void> {
  const { tenant: tenantId, user: userId, role, permissions, expires: expiresAt, actAs, name } = options;
  const json = { tenantId, userId, role, permissions: permissions?.split(",").map((text) => text.trim()), expiresAt, actAs, name };
  printIssued(await client.json<IssuedKey>({ path, json }));
}

export async function listKeys(client: Client, options: { tenant?: string }): Promise<void> {
  const keys = await allPages<Key>(client, path, { tenantId: options.tenant });
  printTable(
    ["KEY ID", "TENANT", "USER", "ROLE", "ACTS FOR", "PREFIX", "LAST USED", "ENDS"],
    keys.map((key) => [
      key.keyId,
      key.tenantId,
      key.userId,
      key.role,
      key.actAs ? "all users" : key.userId,
      key.prefix,
      key.lastUsedAt,
      key.revokedAt ? "revoked" : key.expiresAt,
    ]),
  );
}

export async function rotateKey(client: Client, keyId: string, options: { grace?: string }): Promise<void> {
  const json = { graceSeconds: Number(options.grace ?? 0) };
  printIssued(await client.json<IssuedKey>({ path: `${path}/${encodeURIComponent(keyId)}/rotate`, json }));
}

export async function revokeKey(client: Client, keyId: string): Promise<void> {
  await client.json({ method: "DELETE", path: `${path}/${encodeURIComponent(keyId)}` });
  console.log(`Key ${keyId} is revoked; within 5 seconds it is refused everywhere.`);
}

function printIssued({ key, keyId, userId, role, tenantId }: IssuedKey): void {
  console.log(key);
  console.error(`Key ${keyId} of ${userId} (${role}) in ${tenantId}. It is not shown again.`);
}
