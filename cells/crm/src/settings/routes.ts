import { audited, type Cell, endpoint, requireVersion, settingsChanged } from "@cell/cell";
import { badField } from "@cell/problem";
import { isRegion } from "../phone-number.ts";
import { effective, patchedSettings } from "./domain.ts";
import * as repository from "./repository.ts";
import { type SettingsRecord, settings, settingsPatch } from "./schema.ts";

const tag = "Settings";

const getSettings = endpoint({
  method: "get",
  path: "/settings",
  operationId: "settings.get",
  permission: "crm:read",
  tag,
  summary: "Read the tenant's settings",
  status: 200,
  response: settings,
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
  body: settingsPatch,
  example: { body: { timezone: "Asia/Shanghai", rates: { USD: "7.10" } }, response: { version: 2 } },
  status: 200,
  response: settings,
  versioned: true,
  visibility: "everyone",
});

/** Routes of settings. */
export function settingsRoutes(cell: Cell): void {
  cell.read(getSettings, "Settings", async (_, tenant) => recordOf(tenant.tenantId, await repository.find(tenant)));

  cell.command(changeSettings, async (context, tx) => {
    const stored = await repository.find(tx);
    const current = recordOf(tx.tenantId, stored);
    await requireVersion(context, tx, settings, current);
    const { region } = context.body;
    if (region && !(await isRegion(region)))
      throw badField("region", "INVALID_ENUM", "must be a country whose phone numbers are known, such as CN, DE or US");
    const values = patchedSettings(stored.values, context.body);
    if (values === stored.values) return { changes: [], audit: [], body: current, resourceId: tx.tenantId };
    const next = { values, version: stored.version + 1, updatedAt: context.now };
    return {
      changes: [repository.update(tx, next)],
      audit: [audited("settings", settings, current, recordOf(tx.tenantId, next))],
      body: recordOf(tx.tenantId, next),
      committed: () => settingsChanged(context.tenant),
    };
  });
}

function recordOf(tenantId: string, { values, version, updatedAt }: repository.Stored): SettingsRecord & { tenantId: string } {
  return { tenantId, ...effective(values), version, updatedAt };
}
