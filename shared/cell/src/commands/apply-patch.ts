/**
 * The record after a change, with the next version; the same object when the change changes nothing. `hidden`: the fields of the patch that its
 * writer may not read (see `hiddenFields`); with one of them the version grows in any case.
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
