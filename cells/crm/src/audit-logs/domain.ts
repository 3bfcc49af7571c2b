import { mask, type Resource, type SensitiveKind } from "@cell/cell";

interface Change {
  field: string;
  before?: unknown;
  after?: unknown;
}

/**
 * An entry with the changes of sensitive fields masked, all but the kinds in `clear`, and named in `_masked`. Of a resource that is not
 * known any more every field counts as both personal and an amount.
 */
export function maskedEntry<Entry extends { changes: Change[] }>(
  entry: Entry,
  of: Pick<Resource, "sensitive"> | undefined,
  clear: ReadonlySet<SensitiveKind>,
): Entry & { _masked: string[] } {
  const names = new Set<string>();
  const changes = entry.changes.map((change) => {
    const kind = of ? of.sensitive[change.field] : "amount";
    if (kind === undefined || (clear.has(kind) && (of || clear.has("phone")))) return change;
    const masked = { ...change, before: mask(kind, change.before), after: mask(kind, change.after) };
    if (masked.before !== change.before || masked.after !== change.after) names.add(change.field);
    return masked;
  });
  return { ...entry, changes, _masked: [...names] };
}
