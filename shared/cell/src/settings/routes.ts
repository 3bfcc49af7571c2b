import type { z } from "zod";
import { audited } from "../audit/entries.ts";
import type { Cell } from "../cell-types.ts";
import { requireVersion } from "../commands/optimistic-lock.ts";
import { endpoint } from "../http/endpoint.ts";
import type { TenantSettings } from "./define-settings.ts";
import { findSettings, type SettingsRow, settingsChanged, updateSettings } from "./stored.ts";

const tag = "Settings";

/** Routes of settings. */
export function settingsRoutes<Fields extends z.ZodRawShape>(settings: TenantSettings<Fields>): (cell: Cell) => void {
  const { record, definition, patchSchema } = settings;
  const recordOf = (tenantId: string, { values, version, updatedAt }: SettingsRow) => ({
    tenantId,
    ...settings.effective(values),
    version,
    updatedAt,
  });
  const getSettings = endpoint({
    method: "get",
    path: "/settings",
    operationId: "settings.get",
    permission: definition.permission,
    tag,
    summary: "Read the tenant's settings",
    status: 200,
    response: record,
    versioned: true,
  });
  const changeSettings = endpoint({
    method: "patch",
    path: "/settings",
    permission: "tenant:admin",
    tag,
    summary: "Change the tenant's settings",
    description:
      "Omitted settings stay unchanged; null restores the default. Takes effect immediately in this process, within 5 seconds in others.",
    body: patchSchema,
    example: { body: definition.example, response: { version: 2 } },
    status: 200,
    response: record,
    versioned: true,
    visibility: "everyone",
  });

  return (cell) => {
    cell.read(getSettings, "Settings", async (_, tenant) => recordOf(tenant.tenantId, await findSettings(tenant)));

    cell.command(changeSettings, async (context, tx) => {
      const stored = await findSettings(tx);
      const current = recordOf(tx.tenantId, stored);
      await requireVersion(context, tx, record, current);
      await definition.check?.(context.body);
      const values = settings.patched(stored.values, context.body);
      if (values === stored.values) return { changes: [], audit: [], body: current, resourceId: tx.tenantId };
      const next = { values, version: stored.version + 1, updatedAt: context.now };
      return {
        changes: [updateSettings(tx, next)],
        audit: [audited("settings", record, current, recordOf(tx.tenantId, next))],
        body: recordOf(tx.tenantId, next),
        committed: () => settingsChanged(context.tenant),
      };
    });
  };
}
