import type { RequestContext } from "@cell/cell";
import { type AssertionKeys, signAssertion } from "@cell/http";
import { unavailable } from "@cell/problem";
import { z } from "zod";

const answered = z.object({ total: z.int(), data: z.array(z.record(z.string(), z.unknown())) });
export type Conversations = z.infer<typeof answered>;

/** The newest conversations of a customer; "forbidden" to this caller. Rejects when the messaging cell does not answer in time, or not as it should. */
export type ReadConversations = (context: RequestContext, customerId: string) => Promise<Conversations | "forbidden">;

/** The whole view has 800 ms where this cell is away. */
const timeoutMs = 600;

/** Reads conversations over HTTP, in the caller's name; without an address the messaging cell is away. */
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
    if (!response.ok) throw unavailable(`The messaging cell answered ${response.status}`);
    return answered.parse(await response.json());
  };
}
