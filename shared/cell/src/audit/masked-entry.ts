import { type FieldAccess, isMasked, mask, type SensitiveKind } from "../schema/masking.ts";
import type { Resource } from "../schema/resource.ts";

interface Change {
  field: string;
  before?: unknown;
  after?: unknown;
}

/**
 * An entry with its sensitive changes masked, except those that `fieldAccess` shows, and listed in `_masked`. For a resource that no longer
 * exists, every field counts as both personal data and an amount.
 */
export function maskedEntry<Entry extends { changes: Change[] }>(
  entry: Entry,
  of: Pick<Resource, "sensitive"> | undefined,
  fieldAccess: FieldAccess,
): Entry & { _masked: string[] } {
  const names = new Set<string>();
  const changes = entry.changes.map((change) => {
    if (kindsIn(change, of).every((kind) => !isMasked(fieldAccess, change.field, kind))) return change;
    // The mask for amounts hides the whole value.
    const form = of?.sensitive[change.field] ?? "amount";
    const masked = { ...change, before: mask(form, change.before), after: mask(form, change.after) };
    if (masked.before !== change.before || masked.after !== change.after) names.add(change.field);
    return masked;
  });
  return { ...entry, changes, _masked: [...names] };
}

/** The sensitive kinds in a change: a field's own kind; in an export's filter, the kinds of the fields that it compares. */
function kindsIn({ field, after }: Change, of: Pick<Resource, "sensitive"> | undefined): SensitiveKind[] {
  if (!of) return ["phone", "email", "amount"];
  const own = of.sensitive[field];
  if (own) return [own];
  if (field !== "filter" || typeof after !== "string") return [];
  return Object.entries(of.sensitive).flatMap(([name, kind]) => (after.includes(name) ? [kind] : []));
}
