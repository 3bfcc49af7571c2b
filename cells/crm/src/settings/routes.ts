import { audited, type Cell, checked, endpoint, settingsChanged } from "@cell/cell";
import { badField } from "@cell/problem";
import { isRegion } from "../phone-number.ts";
import { changed, effective } from "./domain.ts";
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
  answer: settings,
  versioned: true,
});

const changeSettings = endpoint({
  method: "patch",
  path: "/settings",
  permission: "tenant:admin",
  tag,
  summary: "Change the tenant's settings",
  description: "What is left out stays; null goes back to the default. In force at once in this process, within 5 seconds in others.",
  body: settingsPatch,
  example: { body: { timezone: "Asia/Shanghai", rates: { USD: "7.10" } }, answer: { version: 2 } },
  status: 200,
  answer: settings,
  versioned: true,
  sight: "everyone",
});

/** The settings' routes. */
export function settingsRoutes(cell: Cell): void {
  cell.read(getSettings, "Settings", async (_, tenant) => recordOf(tenant.tenantId, await repository.find(tenant)));

  cell.command(changeSettings, async (call, tx) => {
    const stored = await repository.find(tx);
    const current = recordOf(tx.tenantId, stored);
    await checked(call, tx, settings, current);
    const { region } = call.body;
    if (region && !(await isRegion(region))) throw badField("region", "INVALID_ENUM", "has no numbering plan that is known");
    const values = changed(stored.values, call.body);
    if (values === stored.values) return { changes: [], audit: [], body: current, resourceId: tx.tenantId };
    const next = { values, version: stored.version + 1, updatedAt: call.now };
    return {
      changes: [repository.update(tx, next)],
      audit: [audited("settings", settings, current, recordOf(tx.tenantId, next))],
      body: recordOf(tx.tenantId, next),
      committed: () => settingsChanged(call.tenant),
    };
  });
}

function recordOf(tenantId: string, { values, version, updatedAt }: repository.Stored): SettingsRecord & { tenantId: string } {
  return { tenantId, ...effective(values), version, updatedAt };
}
