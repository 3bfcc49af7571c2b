import type { RequestContext } from "../http/endpoint.ts";

/** Whose records a caller may see: one owner's, or with null everybody's. */
export type Visibility = string | null;

/** Whose records the caller of a request may see. */
export function visibility({ caller }: Pick<RequestContext, "caller">): Visibility {
  return caller.scope === "own" ? caller.userId : null;
}
