import type { RequestContext } from "@cell/cell";
import { type AssertionKeys, signAssertion } from "@cell/http";
import { unavailable } from "@cell/problem";
import { z } from "zod";

const answered = z.object({ total: z.int(), data: z.array(z.record(z.string(), z.unknown())) });
export type Conversations = z.infer<typeof answered>;

/**
 * Reads the newest conversations of a customer; "forbidden" if the caller may not. Rejects if the messaging cell does not respond in time,
 * or not correctly.
 */
export type ReadConversations = (context: RequestContext, customerId: string) => Promise<Conversations | "forbidden">;

/** The whole view has 800 ms if this cell is not reachable. */
const timeoutMs = 600;

/** Reads conversations over HTTP, with the caller's assertion; without an address it always rejects. */
export function readConversationsAt(url: string | undefined, keys: AssertionKeys): ReadConversations {
  return async (context, customerId) => {
    if (url === undefined) throw unavailable("There is no messaging cell");
    const { caller: principal, requestId } = context;
    const assertion = signAssertion(keys, "messaging", { principal, requestId, requestIdIsKey: false }, Math.floor(Date.now() / 1000));
    const response = await fetch(`${url}/conversations?customerId=${customerId}&pageSize=10`, {
      headers: { "x-cell-assertion": assertion, "x-request-id": requestId, "x-tenant-id": principal.tenantId },
      signal: AbortSignal.timeout(timeoutMs),
    });
    if (response.status === 403) return "forbidden";
    if (!response.ok) throw unavailable(`The messaging cell responded with ${response.status}`);
    return answered.parse(await response.json());
  };
}
