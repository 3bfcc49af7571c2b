import type { RequestContext } from "../http/endpoint.ts";

/** The owner whose records a caller may see; null: all records. */
export type Visibility = string | null;

/** Which records the caller of a request may see. */
export function visibility({ caller }: Pick<RequestContext, "caller">): Visibility {
  return caller.scope === "own" ? caller.userId : null;
}
