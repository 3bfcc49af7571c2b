import { Agent, type IncomingMessage, request } from "node:http";

export interface CellHttpRequest {
  method?: "GET" | "PUT" | "POST" | "DELETE";
  /** Includes the query. */
  path: string;
  headers?: Record<string, string>;
  body?: string | Buffer;
  /** How long the cell may be silent before and within its response. */
  silentMs: number;
}

/** A cell was silent for too long. */
export class SilenceError extends Error {}

/** The gateway's own requests to the cells: they are rare, so that each has its own connection. */
export class CellHttp {
  readonly #connectMs: number;
  readonly #agent = new Agent();

  constructor(connectMs: number) {
    this.#connectMs = connectMs;
  }

  /** The response of the cell at `url`, its body unread. Rejects if none begins in time; a body that stalls ends with an error. */
  send(url: string, { path, body, silentMs, ...options }: CellHttpRequest): Promise<IncomingMessage> {
    return new Promise((resolve, reject) => {
      const sent = request(url + path, { ...options, agent: this.#agent }, resolve);
      sent.on("error", reject);
      sent.on("socket", (socket) => {
        socket.setTimeout(this.#connectMs, () => socket.destroy(new SilenceError("no response in time")));
        socket.once("connect", () => socket.setTimeout(silentMs));
      });
      sent.end(body);
    });
  }

  /** Destroys all connections. */
  close(): void {
    this.#agent.destroy();
  }
}
