/** The record after a change, a version further; the same object when the change changes nothing. */
export function applyPatch<Row extends { version: number; updatedAt: string }>(current: Row, patch: Partial<Row>, now: string): Row {
  const differs = Object.entries(patch).some(([field, value]) => JSON.stringify(value) !== JSON.stringify(current[field as keyof Row]));
  return differs ? { ...current, ...patch, updatedAt: now, version: current.version + 1 } : current;
}
