import { createHmac, timingSafeEqual } from "node:crypto";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo, Socket } from "node:net";

/** A received delivery. */
export interface Received {
  path: string;
  headers: IncomingMessage["headers"];
  body: string;
  // biome-ignore lint/suspicious/noExplicitAny: tests read payloads whose shape they name.
  json: any;
}

/** The receiver's reaction to one delivery; a number is the response's status. */
export type Reaction = number | ((response: ServerResponse, socket: Socket) => void);

/** A receiver of webhooks on 127.0.0.1, for tests: it stores what it receives, and reacts by `react`. */
export interface Receiver {
  url: string;
  received: Received[];
  react: (received: Received) => Reaction;
  /** Resolves once this many have arrived. */
  waitFor(count: number, timeoutMs?: number): Promise<Received[]>;
  stop(): Promise<void>;
}

export async function startReceiver(): Promise<Receiver> {
  const received: Received[] = [];
  const server = createServer(async (request, response) => {
    const pieces: Buffer[] = [];
    for await (const piece of request) pieces.push(piece as Buffer);
    const body = Buffer.concat(pieces).toString();
    const got = { path: request.url ?? "", headers: request.headers, body, json: JSON.parse(body) };
    received.push(got);
    const reaction = receiver.react(got);
    if (typeof reaction === "number") response.writeHead(reaction).end();
    else reaction(response, request.socket);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const receiver: Receiver = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    received,
    react: () => 200,
    async waitFor(count, timeoutMs = 20_000) {
      const deadline = Date.now() + timeoutMs;
      while (received.length < count) {
        if (Date.now() > deadline) throw new Error(`${received.length} of ${count} deliveries have come`);
        await new Promise((resolve) => setTimeout(resolve, 10));
      }
      return received;
    },
    async stop() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
  return receiver;
}

/** Verifies a delivery by the Standard Webhooks specification, without the sender's code. */
export function isSigned({ headers, body }: Received, secret: string): boolean {
  const key = Buffer.from(secret.replace(/^whsec_/, ""), "base64");
  const expected = createHmac("sha256", key)
    .update(Buffer.from(`${headers["webhook-id"]}.${headers["webhook-timestamp"]}.`))
    .update(Buffer.from(body))
    .digest();
  const age = Math.abs(Date.now() / 1000 - Number(headers["webhook-timestamp"]));
  const given = String(headers["webhook-signature"]).split(" ");
  return (
    age < 300 &&
    given.some((one) => {
      const signature = Buffer.from(one.replace(/^v1,/, ""), "base64");
      return one.startsWith("v1,") && signature.length === expected.length && timingSafeEqual(signature, expected);
    })
  );
}
