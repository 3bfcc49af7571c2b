import { createHash } from "node:crypto";
import { type Principal, signAssertion } from "@cell/http";
import { schemaOf } from "@cell/postgres/tenants";
import { allPermissions } from "../../cells/crm/src/permissions.ts";
import { prefix } from "./requests.ts";
import type { Stack } from "./stack.ts";

/** An assertion is valid for at most a minute. */
const signedAheadSeconds = 25;

/** The tenant's key, derived so that a run finds the tenants of the last one. */
function keyOf(tenantId: string): string {
  return `crm_bench_${createHash("sha256").update(tenantId).digest().subarray(0, 24).toString("base64url")}`;
}

/** A caller's headers to the gateway; the key is an administrator's, with phone numbers and e-mails masked in lists. */
export function callerHeaders(tenantId: string): Record<string, string> {
  return { authorization: `Bearer ${keyOf(tenantId)}`, "x-tenant-id": tenantId };
}

/** The gateway's headers to the cell: valid for the next 50 seconds, with this request id only. */
export function assertedHeaders(stack: Stack, tenantId: string): Record<string, string> {
  const principal: Principal = { tenantId, userId: "bench", actorType: "user", permissions: allPermissions, scope: "tenant" };
  const requestId = prefix();
  const caller = { principal, requestId, requestIdIsKey: false };
  const assertion = signAssertion(stack.assertionKeys, "crm", caller, Math.floor(Date.now() / 1000) + signedAheadSeconds);
  return { "x-tenant-id": tenantId, "x-request-id": requestId, "x-cell-assertion": assertion };
}

/** Creates a tenant in every cell, with its key; idempotent. */
export async function ensureTenant(stack: Stack, tenantId: string): Promise<void> {
  const response = await fetch(`${stack.gateway}/api/admin/tenants`, {
    method: "POST",
    headers: { authorization: `Bearer ${stack.secrets.operatorKey}`, "content-type": "application/json" },
    body: JSON.stringify({ tenantId, name: tenantId }),
  });
  const body = await response.text();
  if (response.status !== 201 && response.status !== 409)
    throw new Error(`The tenant ${tenantId} cannot be made: ${response.status} ${body}`);
  await stack.superuser.query(
    `insert into gateway.api_keys (key_id, tenant_id, user_id, role, act_as, prefix, secret_hash, env)
     values (gen_random_uuid(), $1, 'bench', 'admin', false, 'crm_bench', $2, 'bench') on conflict (secret_hash) do nothing`,
    [tenantId, createHash("sha256").update(keyOf(tenantId)).digest()],
  );
}

/** Creates an empty tenant with a new id, and resolves to the id. */
export async function newTenant(stack: Stack, name: string): Promise<string> {
  const tenantId = `${name}-${Date.now().toString(36)}`;
  await ensureTenant(stack, tenantId);
  return tenantId;
}

/** Drops a tenant with all its data. */
export async function dropTenant(stack: Stack, tenantId: string): Promise<void> {
  // A hidden tenant has to be known again to be dropped.
  await stack.superuser.query(
    `insert into crm.tenants (tenant_id, schema, version, login_key) select $1::text, $2::text, 0, '' where exists (select from pg_namespace where nspname = $2::text)
     on conflict do nothing`,
    [tenantId, schemaOf(tenantId)],
  );
  const response = await fetch(`${stack.gateway}/api/admin/tenants/${tenantId}?confirm=${tenantId}`, {
    method: "DELETE",
    headers: { authorization: `Bearer ${stack.secrets.operatorKey}` },
  });
  await response.body?.cancel();
  if (response.status !== 200 && response.status !== 404) throw new Error(`The tenant ${tenantId} cannot be dropped: ${response.status}`);
}

/** Hides a tenant that only limits write to from the cell's background work (sealing, sweeping). */
export async function hideTenant(stack: Stack, tenantId: string): Promise<void> {
  await stack.superuser.query("delete from crm.tenants where tenant_id = $1", [tenantId]);
}

/** Waits until all writes are sealed, so that sealing one side's writes does not load the other; at most 20 s. */
export async function sealed(stack: Stack, tenantId: string): Promise<void> {
  const schema = schemaOf(tenantId);
  for (let waitedMs = 0; waitedMs < 20_000; waitedMs += 100) {
    const { rows } = await stack.superuser.query<{ done: boolean }>(
      `select not exists (select from "${schema}".audit_logs where transaction_id >= coalesce((select max(to_transaction) from "${schema}".audit_seals), 0)) as done`,
    );
    if (rows[0]?.done) return;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}
