import type { Call } from "@cell/cell";

/** Whose records a caller may see: one owner's, or with null everybody's. */
export type Visibility = string | null;

export function visibility({ caller }: Pick<Call, "caller">): Visibility {
  return caller.scope === "own" ? caller.userId : null;
}
