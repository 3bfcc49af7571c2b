import type { Logger } from "@cell/http";
import { Problem, unavailable } from "@cell/problem";
import type { Access } from "../auth/access.ts";
import { AuthenticationError } from "../auth/authentication-error.ts";
import type { GatewayMetrics } from "../metrics.ts";

/** Maximum of open event streams and sockets. */
export interface OpenStreamLimits {
  /** In this process. */
  process: number;
  /** Of one tenant in this process. */
  tenant: number;
  /** Of one token in this process. */
  token: number;
}

/** An event stream or a socket. */
export interface OpenStream {
  kind: "events" | "socket";
  access: Access;
  /** Undefined for a caller without one. */
  token: string | undefined;
  cell: string;
  /** The partition's address. */
  url: string;
  /** When its token expires, as far as known now, in milliseconds since 1970. */
  expiresAtMs: number;
  /** Ends both sides of it. */
  end(): void;
}

/** Checks a token again. */
export type Reauthenticate = (stream: OpenStream) => Promise<Access>;

const checkEveryMs = 1_000;
/** Limit of concurrent lookups after a change in the control plane. */
const lookupsAtOnce = 50;

/**
 * The open event streams and sockets of this process, limited per process, tenant and token. One ends when its token expires or is revoked,
 * when its tenant is suspended or has moved to another partition, and when the process drains.
 */
export class OpenStreams {
  readonly #limits: OpenStreamLimits;
  readonly #reauthenticate: Reauthenticate;
  readonly #metrics: GatewayMetrics;
  readonly #log: Logger;
  readonly #open = new Set<OpenStream>();
  readonly #byTenant = new Map<string, number>();
  readonly #byToken = new Map<string, number>();
  #timer: NodeJS.Timeout | undefined;
  #isStale = false;
  #isChecking = false;
  #draining = false;

  constructor(limits: OpenStreamLimits, reauthenticate: Reauthenticate, metrics: GatewayMetrics, log: Logger) {
    this.#limits = limits;
    this.#reauthenticate = reauthenticate;
    this.#metrics = metrics;
    this.#log = log;
  }

  get size(): number {
    return this.#open.size;
  }

  /**
   * Counts a stream; call the returned function at its end. Throws RATE_LIMITED or UNAVAILABLE at a limit, and UNAVAILABLE while draining.
   */
  enter(stream: OpenStream): () => void {
    const { tokenId, principal } = stream.access;
    const { tenantId } = principal;
    if (this.#draining) throw unavailable("The gateway is shutting down; open the stream again");
    if (this.#open.size >= this.#limits.process)
      throw this.#refuse("process", unavailable("There are too many open streams; try again", 5));
    if ((this.#byTenant.get(tenantId) ?? 0) >= this.#limits.tenant) throw this.#refuse("tenant", tooMany("tenant", this.#limits.tenant));
    if ((this.#byToken.get(tokenId) ?? 0) >= this.#limits.token) throw this.#refuse("token", tooMany("token", this.#limits.token));
    this.#open.add(stream);
    add(this.#byTenant, tenantId, 1);
    add(this.#byToken, tokenId, 1);
    this.#metrics.openStreams.inc({ kind: stream.kind });
    this.#timer ??= setInterval(() => void this.#check(), checkEveryMs).unref();
    return () => this.#leave(stream);
  }

  /** Checks the tokens of all streams again within a second: something in the control plane has changed. */
  recheck(): void {
    this.#isStale = true;
  }

  /** Ends all streams, and rejects new ones. */
  drain(): void {
    this.#draining = true;
    clearInterval(this.#timer);
    for (const stream of [...this.#open]) stream.end();
  }

  #leave(stream: OpenStream): void {
    if (!this.#open.delete(stream)) return;
    const { tokenId, principal } = stream.access;
    add(this.#byTenant, principal.tenantId, -1);
    add(this.#byToken, tokenId, -1);
    this.#metrics.openStreams.dec({ kind: stream.kind });
    if (this.#open.size > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  async #check(): Promise<void> {
    for (const stream of [...this.#open]) if (stream.expiresAtMs <= Date.now()) stream.end();
    if (!this.#isStale || this.#isChecking) return;
    this.#isStale = false;
    this.#isChecking = true;
    try {
      const open = [...this.#open];
      for (let at = 0; at < open.length; at += lookupsAtOnce)
        await Promise.all(open.slice(at, at + lookupsAtOnce).map((stream) => this.#checkToken(stream)));
    } finally {
      this.#isChecking = false;
    }
  }

  async #checkToken(stream: OpenStream): Promise<void> {
    try {
      const { suspended, placements, expiresAtMs } = await this.#reauthenticate(stream);
      stream.expiresAtMs = expiresAtMs;
      if (suspended || placements.get(stream.cell) !== stream.url) stream.end();
    } catch (error) {
      if (error instanceof AuthenticationError || (error instanceof Problem && error.status < 500)) stream.end();
      else {
        this.#isStale = true;
        this.#log.debug({ err: error }, "the token of a stream was not checked again");
      }
    }
  }

  #refuse(limit: "process" | "tenant" | "token", problem: Problem): Problem {
    this.#metrics.refusedStreams.inc({ limit });
    return problem;
  }
}

function tooMany(whose: "tenant" | "token", limit: number): Problem {
  return new Problem("RATE_LIMITED", `This ${whose} already has ${limit} open streams, which is its limit; close one first`, {
    details: { limit: `streams-${whose}`, openStreams: limit },
    headers: { "retry-after": "5" },
  });
}

function add(counts: Map<string, number>, key: string, difference: number): void {
  const count = (counts.get(key) ?? 0) + difference;
  if (count > 0) counts.set(key, count);
  else counts.delete(key);
}
