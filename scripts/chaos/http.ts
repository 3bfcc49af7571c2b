import { Agent, type IncomingHttpHeaders, request } from "node:http";

export interface ReceivedResponse {
  status: number;
  headers: IncomingHttpHeaders;
  text: string;
}

export interface Sending {
  method: string;
  headers?: Record<string, string>;
  body?: unknown;
}

/** Longer than any response may take. */
const patienceMs = 30_000;

export const connections = new Agent({ keepAlive: true });

/** Sends one request and reads the whole response. Rejects with the socket's error if none arrives. */
export function send(url: string, { method, headers = {}, body }: Sending): Promise<ReceivedResponse> {
  const text = body === undefined ? undefined : JSON.stringify(body);
  const length = text === undefined ? {} : { "content-type": "application/json", "content-length": Buffer.byteLength(text) };
  return new Promise((resolve, reject) => {
    const sent = request(url, { method, agent: connections, headers: { ...headers, ...length } }, (incoming) => {
      const chunks: Buffer[] = [];
      incoming.on("data", (chunk: Buffer) => chunks.push(chunk));
      incoming.on("error", reject);
      incoming.on("end", () =>
        resolve({ status: incoming.statusCode ?? 0, headers: incoming.headers, text: Buffer.concat(chunks).toString() }),
      );
    });
    sent.setTimeout(patienceMs, () => sent.destroy(Object.assign(new Error("no answer"), { code: "NO_ANSWER" })));
    sent.on("error", reject);
    sent.end(text);
  });
}

/** Sends a request that must succeed, and parses its JSON. Rejects with the response otherwise. */
export async function call<Body>(url: string, sending: Sending): Promise<Body> {
  const { status, text } = await send(url, sending);
  if (status >= 400) throw new Error(`${sending.method} ${url} answers ${status}: ${text}`);
  return JSON.parse(text) as Body;
}
