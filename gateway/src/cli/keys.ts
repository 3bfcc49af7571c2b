import type { Key } from "../admin/keys/schema.ts";
import type { Client } from "./client.ts";
import { type CommandResult, lines, printTable } from "./output.ts";
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

export async function issueKey(client: Client, options: IssueOptions): Promise<CommandResult> {
  const { tenant: tenantId, user: userId, role, permissions, expires: expiresAt, actAs, name } = options;
  const json = { tenantId, userId, role, permissions: permissions?.split(",").map((text) => text.trim()), expiresAt, actAs, name };
  return issued(await client.json<IssuedKey>({ path, json }));
}

export async function listKeys(client: Client, options: { tenant?: string }): Promise<CommandResult> {
  const keys = await allPages<Key>(client, path, { tenantId: options.tenant });
  const show = () =>
    printTable(
      ["KEY ID", "TENANT", "USER", "ROLE", "ACTS FOR", "PREFIX", "LAST USED", "ENDS", "PERMISSIONS"],
      keys.map((key) => [
        key.keyId,
        key.tenantId,
        key.userId,
        key.role,
        key.actAs ? "all users" : key.userId,
        key.prefix,
        key.lastUsedAt,
        key.revokedAt ? "revoked" : key.expiresAt,
        key.permissions.join(","),
      ]),
    );
  return { data: keys, show };
}

export async function rotateKey(client: Client, keyId: string, options: { grace?: string }): Promise<CommandResult> {
  const json = { graceSeconds: Number(options.grace ?? 0) };
  return issued(await client.json<IssuedKey>({ path: `${path}/${encodeURIComponent(keyId)}/rotate`, json }));
}

export async function revokeKey(client: Client, keyId: string): Promise<CommandResult> {
  const data = await client.json({ method: "DELETE", path: `${path}/${encodeURIComponent(keyId)}` });
  return { data, show: lines(`Key ${keyId} is revoked; within 5 seconds it is rejected everywhere.`) };
}

/** Only the key is on stdout. */
function issued(data: IssuedKey): CommandResult {
  const { key, keyId, userId, role, tenantId } = data;
  const show = () => {
    console.log(key);
    console.error(`Key ${keyId} of ${userId} (${role}) in ${tenantId}. It is not shown again.`);
  };
  return { data, show };
}
