import { setTimeout as sleep } from "node:timers/promises";
import type { TestGateway } from "../../gateway/src/testing/gateway.ts";
import { type Answer, type AskInit, ask } from "./world.ts";

/** A write that was acknowledged, and what it was answered. */
export interface Acknowledged {
  requestId: string;
  path: string;
  body: object;
  answer: Answer;
}

export interface Load {
  acknowledged: Acknowledged[];
  /** Answers that were neither success nor to be repeated. */
  faults: string[];
  /** How often a write was put off. */
  putOff: number;
  /** Lets what is under way end. */
  stop(): Promise<void>;
}

/** Many clients write, each by one gateway after the other, and repeat with the same id what was not acknowledged. */
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
      const answer = await untilTaken(gateways, key, tenantId, path as string, { requestId, body: body as object }, client, load);
      if (answer.status === 201) load.acknowledged.push({ requestId, path: path as string, body: body as object, answer });
      else load.faults.push(`${path} ${requestId}: ${answer.status} ${answer.text}`);
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
): Promise<Answer> {
  for (let attempt = client; ; attempt++) {
    const gateway = gateways[attempt % gateways.length];
    if (!gateway) throw new Error("There is no gateway");
    const answer = await ask(gateway, key, tenantId, path, init);
    const passing = answer.status === 0 || answer.status === 503 || answer.body.details?.reason === "IN_PROGRESS";
    if (!passing) return answer;
    load.putOff++;
    await sleep(20);
  }
}
