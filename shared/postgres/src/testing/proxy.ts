import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import { CommitWatch, isWhole } from "./commit-watch.ts";

/** What happens to the response to a commit: it is passed on, lost together with the connection, or held back until `release`. */
export type CommitFate = "pass" | "lose" | "hold";

export interface ProxyOptions {
  /** On 127.0.0.1. */
  targetPort: number;
  /** Default: any free port. */
  port?: number;
  /** Chooses connections and delays; a seeded one makes them repeatable. */
  random?: () => number;
}

interface Delayed {
  dueMs: number;
  chunk: Buffer;
}

/** A TCP proxy that injects network faults; between a cell and PostgreSQL it also recognizes commits. */
export class TcpProxy {
  /** Port for new connections. */
  targetPort: number;
  /** Delay of each chunk, in both directions. */
  delayMs = 0;
  jitterMs = 0;
  /** Called for each commit after it was passed on; undefined: the traffic is not parsed. */
  commitFate: (() => CommitFate) | undefined;
  /** Drops new connections immediately. */
  refusing = false;
  /** Drops all data silently; connections of this time stay dead. */
  #swallowing = false;
  /** Holds all data until `mend`. */
  #stalled = false;
  readonly #server: Server;
  readonly #links = new Set<Link>();
  readonly #random: () => number;

  private constructor(server: Server, { targetPort, random = Math.random }: ProxyOptions) {
    this.#server = server;
    this.targetPort = targetPort;
    this.#random = random;
    server.on("connection", (client) => this.#link(client));
  }

  /** Listens on 127.0.0.1. Rejects if the port is taken. */
  static async open(options: ProxyOptions): Promise<TcpProxy> {
    const server = createServer({ noDelay: true, allowHalfOpen: true });
    server.listen(options.port ?? 0, "127.0.0.1");
    await once(server, "listening");
    return new TcpProxy(server, options);
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  get stalled(): boolean {
    return this.#stalled;
  }

  get swallowing(): boolean {
    return this.#swallowing;
  }

  /** An address with this proxy in place of host and port. */
  through(url: string): string {
    const changed = new URL(url);
    changed.host = `127.0.0.1:${this.port}`;
    changed.search = "";
    return changed.href;
  }

  /** Resets a random share of the connections. Returns how many. */
  cut(share = 1): number {
    const chosen = [...this.#links].filter(() => share >= 1 || this.#random() < share);
    for (const link of chosen) link.reset();
    return chosen.length;
  }

  /** From now on all data and closes are lost silently; connections of this time never recover. */
  swallow(): void {
    this.#swallowing = true;
    for (const link of this.#links) link.dead = true;
  }

  /** From now on all data waits, as behind a broken switch; `mend` delivers it. */
  stall(): void {
    this.#stalled = true;
  }

  /** Ends `swallow` and `stall`. */
  mend(): void {
    this.#swallowing = false;
    this.#stalled = false;
    for (const link of this.#links) link.mended();
  }

  /** The current delay of a chunk. */
  latencyMs(): number {
    return this.delayMs + this.jitterMs * this.#random();
  }

  /** Passes on the responses held back. */
  release(): void {
    for (const link of this.#links) link.release();
  }

  async close(): Promise<void> {
    for (const link of this.#links) link.reset();
    this.#server.close();
    await once(this.#server, "close");
  }

  #link(client: Socket): void {
    if (this.refusing) {
      client.resetAndDestroy();
      return;
    }
    const link = new Link(this, client, connect({ port: this.targetPort, host: "127.0.0.1", noDelay: true }));
    link.dead = this.#swallowing;
    this.#links.add(link);
    link.closed.then(() => this.#links.delete(link));
  }
}

/** One connection: both sockets, and the data between them. */
class Link {
  dead = false;
  readonly closed: Promise<unknown>;
  readonly #proxy: TcpProxy;
  readonly #client: Socket;
  readonly #server: Socket;
  readonly #there: Direction;
  readonly #back: Direction;
  readonly #watch: CommitWatch | undefined;
  #fate: CommitFate = "pass";
  #response: Buffer[] = [];

  constructor(proxy: TcpProxy, client: Socket, server: Socket) {
    this.#proxy = proxy;
    this.#client = client;
    this.#server = server;
    this.#watch = proxy.commitFate && new CommitWatch();
    this.#there = new Direction(proxy, client, server);
    this.#back = new Direction(proxy, server, client);
    client.on("data", (chunk) => this.#sent(chunk));
    server.on("data", (chunk) => this.#answered(chunk));
    for (const [from, direction] of [
      [client, this.#there],
      [server, this.#back],
    ] as const) {
      // The close that follows propagates the reset to the other side.
      from.on("error", () => undefined);
      for (const ending of ["end", "close"]) from.on(ending, () => this.dead || direction.end());
    }
    this.closed = Promise.all([client, server].map((socket) => new Promise((resolve) => socket.once("close", resolve))));
  }

  reset(): void {
    this.#client.resetAndDestroy();
    this.#server.resetAndDestroy();
  }

  mended(): void {
    if (this.dead && (this.#client.destroyed || this.#server.destroyed)) this.reset();
    this.#there.pump();
    this.#back.pump();
  }

  release(): void {
    this.#fate = "pass";
    for (const chunk of this.#response.splice(0)) this.#back.send(chunk);
  }

  #sent(chunk: Buffer): void {
    if (this.dead) return;
    this.#there.send(chunk);
    if (this.#watch?.see(chunk) && this.#fate === "pass") this.#fate = this.#proxy.commitFate?.() ?? "pass";
  }

  #answered(chunk: Buffer): void {
    if (this.dead) return;
    if (this.#fate === "pass") {
      this.#back.send(chunk);
      return;
    }
    this.#response.push(chunk);
    if (this.#fate === "lose" && isWhole(chunk)) this.reset();
  }
}

/** One direction of a connection. */
class Direction {
  readonly #proxy: TcpProxy;
  readonly #from: Socket;
  readonly #to: Socket;
  readonly #queue: Delayed[] = [];
  #timer: NodeJS.Timeout | undefined;
  #ended = false;

  constructor(proxy: TcpProxy, from: Socket, to: Socket) {
    this.#proxy = proxy;
    this.#from = from;
    this.#to = to;
    to.on("drain", () => from.resume());
  }

  send(chunk: Buffer): void {
    const latencyMs = this.#proxy.latencyMs();
    if (latencyMs === 0 && this.#queue.length === 0 && !this.#proxy.stalled) {
      this.#write(chunk);
      return;
    }
    // Data on a connection keep their order.
    this.#queue.push({ dueMs: Math.max(performance.now() + latencyMs, this.#queue.at(-1)?.dueMs ?? 0), chunk });
    this.pump();
  }

  /** The sender has closed: closes the receiver after the queued data. */
  end(): void {
    this.#ended = true;
    this.pump();
  }

  pump(): void {
    clearTimeout(this.#timer);
    if (this.#proxy.stalled) return;
    while (this.#queue[0] && this.#queue[0].dueMs <= performance.now()) this.#write((this.#queue.shift() as Delayed).chunk);
    if (this.#queue[0]) this.#timer = setTimeout(() => this.pump(), Math.max(1, this.#queue[0].dueMs - performance.now()));
    else if (this.#ended) this.#to.destroySoon();
  }

  #write(chunk: Buffer): void {
    if (this.#to.destroyed) return;
    if (!this.#to.write(chunk)) this.#from.pause();
  }
}
