import type { Logger } from "@cell/http";
import { type Registry, schemaOf } from "@cell/postgres";
import { type Background, repeat } from "../workers/repeat.ts";
import { retentionMs } from "./idempotency.ts";

const everyMs = 5 * 60_000;
const keysPerStatement = 500;

/** Removes stored responses past their retention, of all tenants, every few minutes. */
export function startSweeper(registry: Registry, log: Logger): Background {
  return repeat(everyMs, () => sweep(registry, log), log, "sweeping stored responses");
}

async function sweep(registry: Registry, log: Logger): Promise<void> {
  for (const { tenantId, version, state } of await registry.list()) {
    if (version !== registry.version || state !== "active") continue;
    try {
      const swept = await sweepTenant(registry, tenantId);
      if (swept > 0) log.info({ tenantId, swept }, "stored responses swept");
    } catch (err) {
      log.error({ tenantId, err }, "stored responses could not be swept");
    }
  }
}

/** Removes a tenant's stored responses past their retention, few at a time so that no writer waits. Resolves to their number. */
export async function sweepTenant(registry: Registry, tenantId: string): Promise<number> {
  const swept = await sweepTable(registry, `"${schemaOf(tenantId)}".idempotency_keys`);
  // After the references to them.
  return swept + (await sweepTable(registry, `"${schemaOf(tenantId)}".shared_answers`));
}

async function sweepTable(registry: Registry, table: string): Promise<number> {
  const before = new Date(Date.now() - retentionMs).toISOString();
  for (let swept = 0; ; ) {
    const { rowCount } = await registry.owner.query(
      `delete from ${table} where ctid = any(array(select ctid from ${table} where created_at < $1 limit ${keysPerStatement} for update skip locked))`,
      [before],
    );
    swept += rowCount ?? 0;
    if ((rowCount ?? 0) < keysPerStatement) return swept;
  }
}
