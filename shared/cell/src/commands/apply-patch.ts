/**
 * The record after a change, with the next version; the same object if nothing changes. `hidden`: the patch's fields that its author may
 * not read (see `hiddenFields`); with any of them the version always grows.
 */
export function applyPatch<Row extends { version: number; updatedAt: string }>(
  current: Row,
  patch: Partial<Row>,
  now: string,
  hidden: readonly string[] = [],
): Row {
  if (hidden.length > 0) return { ...current, ...patch, updatedAt: now, version: current.version + 1 };
  const differs = Object.entries(patch).some(([field, value]) => JSON.stringify(value) !== JSON.stringify(current[field as keyof Row]));
  return differs ? { ...current, ...patch, updatedAt: now, version: current.version + 1 } : current;
}
