import { Agent, type IncomingMessage, request } from "node:http";

export interface CellHttpRequest {
  method?: "GET" | "PUT" | "POST" | "DELETE";
  /** Includes the query. */
  path: string;
  headers?: Record<string, string>;
  body?: string | Buffer;
  /** How long the cell may be silent, before its answer begins and within it. */
  silentMs: number;
}

/** A cell has said nothing for too long. */
export class SilenceError extends Error {}

/** What the gateway itself asks of the cells: seldom, so that each call has a connection of its own. */
export class CellHttp {
  readonly #connectMs: number;
  readonly #agent = new Agent();

  constructor(connectMs: number) {
    this.#connectMs = connectMs;
  }

  /** The answer of the cell at `url`, its body still to be read. Rejects when none begins in time; a body that stops ends with an error. */
  send(url: string, { path, body, silentMs, ...options }: CellHttpRequest): Promise<IncomingMessage> {
    return new Promise((resolve, reject) => {
      const sent = request(url + path, { ...options, agent: this.#agent }, resolve);
      sent.on("error", reject);
      sent.on("socket", (socket) => {
        socket.setTimeout(this.#connectMs, () => socket.destroy(new SilenceError("no answer in time")));
        socket.once("connect", () => socket.setTimeout(silentMs));
      });
      sent.end(body);
    });
  }

  /** Cuts all connections. */
  close(): void {
    this.#agent.destroy();
  }
}
