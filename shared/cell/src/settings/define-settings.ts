import type { Permission } from "@cell/http";
import { z } from "zod";
import { canonicalJson } from "../commands/canonical-json.ts";
import { type Resource, resource } from "../schema/resource.ts";
import { defaultConventions, type StoredSettings } from "./stored.ts";

/** The spelling of each timezone by its name in lower case: `Intl` accepts any case. */
const timezones = new Map(["UTC", ...Intl.supportedValuesOf("timeZone")].map((name) => [name.toLowerCase(), name]));

const timezone = z
  .string()
  .max(64)
  .refine(isTimezone, "must be a timezone of the IANA database, such as Asia/Shanghai")
  .overwrite((name) => timezones.get(name.toLowerCase()) ?? name);

/** Rejects offsets such as +08:00, which Intl accepts too: they have no daylight saving time. */
function isTimezone(name: string): boolean {
  if (!/^[A-Za-z]/.test(name)) return false;
  try {
    new Intl.DateTimeFormat("en", { timeZone: name });
    return true;
  } catch {
    return false;
  }
}

/** The settings of every cell, before and after its own in the order of the documentation. */
const firstFields = { timezone: timezone.meta({ description: "The timezone of calendar dates", examples: ["Asia/Shanghai"] }) };
const lastFields = {
  requireRequestId: z.boolean().meta({ description: "Reject writes without a request id from the caller" }),
  idempotencyMode: z.enum(["replay", "reject"]).meta({ description: "The response to a repeated request id: the stored response, or 409" }),
};
const frameworkDefaults = { timezone: defaultConventions.timezone, requireRequestId: false, idempotencyMode: "replay" as const };

type FrameworkFields = typeof firstFields & typeof lastFields;

/** The settings in force, defaults included. */
export type SettingsOf<Fields extends z.ZodRawShape> = z.infer<z.ZodObject<FrameworkFields & Fields>>;
/** A change: null restores the default. */
export type SettingsPatchOf<Fields extends z.ZodRawShape> = {
  [Name in keyof SettingsOf<Fields>]?: SettingsOf<Fields>[Name] | null | undefined;
};

export interface SettingsDefinition<Fields extends z.ZodRawShape> {
  /** Permission to read the settings; changing them takes tenant:admin. */
  permission: Permission;
  /** The cell's own settings. */
  fields: Fields;
  defaults: z.infer<z.ZodObject<Fields>>;
  /** A change, for the document. */
  example: object;
  /** The names of the settings that a change resets to their defaults. Throws BAD_REQUEST for settings that contradict each other. */
  resets?(change: { before: SettingsOf<Fields>; after: SettingsOf<Fields>; patch: SettingsPatchOf<Fields> }): readonly string[];
  /** Rejects with BAD_REQUEST for values that the schema cannot judge. */
  check?(patch: SettingsPatchOf<Fields>): Promise<void>;
}

/** A cell's settings of a tenant: their record, the schema of a change, and how a change is merged. */
export interface TenantSettings<Fields extends z.ZodRawShape> {
  definition: SettingsDefinition<Fields>;
  record: Resource<object>;
  patchSchema: z.ZodType<SettingsPatchOf<Fields>>;
  /** The settings in force: stored values, and defaults for the others. */
  effective(stored: StoredSettings): SettingsOf<Fields>;
  /** The stored settings after a change; the same object if nothing changes. Throws what `resets` throws. */
  patched(stored: StoredSettings, patch: SettingsPatchOf<Fields>): StoredSettings;
}

/** Declares the settings of a cell's tenants: timezone, requireRequestId and idempotencyMode, which every cell has, and its own. */
export function defineSettings<Fields extends z.ZodRawShape>(definition: SettingsDefinition<Fields>): TenantSettings<Fields> {
  const fields = { ...firstFields, ...definition.fields, ...lastFields };
  const schema = z
    .object({ tenantId: z.string().meta({ examples: ["tenant-001"] }), ...fields, updatedAt: z.iso.datetime(), version: z.int() })
    .meta({ id: "Settings" });
  const patchFields = Object.entries(fields).map(([name, field]) => [name, (field as z.ZodType).nullable()] as const);
  const patchSchema = z
    .strictObject(Object.fromEntries(patchFields))
    .partial()
    .meta({ id: "SettingsPatch", description: "null restores the default" });
  const defaults = { ...frameworkDefaults, ...definition.defaults };
  const effective = (stored: StoredSettings) => ({ ...defaults, ...stored }) as SettingsOf<Fields>;
  return {
    definition,
    record: resource("settings", schema, { id: "tenantId", label: "tenantId" }) as Resource<object>,
    // Made of the same fields by name, which the compiler cannot follow.
    patchSchema: patchSchema as unknown as z.ZodType<SettingsPatchOf<Fields>>,
    effective,
    patched(stored, patch) {
      const next: Record<string, unknown> = { ...stored };
      for (const [name, value] of Object.entries(patch)) {
        if (value === null) delete next[name];
        else next[name] = value;
      }
      const change = { before: effective(stored), after: effective(next), patch };
      for (const name of definition.resets?.(change) ?? []) delete next[name];
      return canonicalJson(effective(next)) === canonicalJson(effective(stored)) ? stored : next;
    },
  };
}
