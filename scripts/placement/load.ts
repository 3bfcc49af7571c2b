import { setTimeout as sleep } from "node:timers/promises";
import type { TestGateway } from "../../gateway/src/testing/gateway.ts";
import { type AskInit, ask, type ReceivedResponse } from "./testbed.ts";

/** An acknowledged write and its response. */
export interface Acknowledged {
  requestId: string;
  path: string;
  body: object;
  response: ReceivedResponse;
}

export interface Load {
  acknowledged: Acknowledged[];
  /** Responses that were neither success nor retryable. */
  faults: string[];
  /** Number of deferred writes. */
  putOff: number;
  /** Waits for running requests. */
  stop(): Promise<void>;
}

/** Many clients write, each through the gateways in turn, and retry unacknowledged writes with the same id. */
export function startLoad(gateways: readonly TestGateway[], key: string, tenantId: string, customerId: string, clients: number): Load {
  const load: Load = { acknowledged: [], faults: [], putOff: 0, stop };
  let stopping = false;
  const running = Array.from({ length: clients }, (_, client) => write(client));

  async function stop(): Promise<void> {
    stopping = true;
    await Promise.all(running);
  }

  async function write(client: number): Promise<void> {
    for (let number = 0; !stopping; number++) {
      const requestId = `load-${client}-${number}`;
      const name = `${tenantId} ${client}-${number}`;
      const [path, body] = number % 2 ? ["/customers", { name }] : ["/contracts", { customerId, name, amount: "10" }];
      const response = await untilTaken(gateways, key, tenantId, path as string, { requestId, body: body as object }, client, load);
      if (response.status === 201) load.acknowledged.push({ requestId, path: path as string, body: body as object, response });
      else load.faults.push(`${path} ${requestId}: ${response.status} ${response.text}`);
    }
  }
  return load;
}

async function untilTaken(
  gateways: readonly TestGateway[],
  key: string,
  tenantId: string,
  path: string,
  init: AskInit,
  client: number,
  load: Load,
): Promise<ReceivedResponse> {
  for (let attempt = client; ; attempt++) {
    const gateway = gateways[attempt % gateways.length];
    if (!gateway) throw new Error("There is no gateway");
    const response = await ask(gateway, key, tenantId, path, init);
    const passing = response.status === 0 || response.status === 503 || response.body.details?.reason === "IN_PROGRESS";
    if (!passing) return response;
    load.putOff++;
    await sleep(20);
  }
}
