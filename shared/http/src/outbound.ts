import { promises as dns } from "node:dns";
import http, { type ClientRequest, type RequestOptions } from "node:http";
import https from "node:https";
import { isIP, type LookupFunction } from "node:net";
import { isIn, isPublicAddress, type Networks } from "./addresses.ts";

export interface OutboundOptions {
  /** Networks that may be reached though they are not public, plain http included; undefined: none. */
  allow?: Networks | undefined;
  /** Name servers, as `address:port`; those of the system where nothing is said. */
  nameServers?: readonly string[];
}

/** Why nothing, or nothing usable, came back. */
export const outboundFailures = [
  "ADDRESS_REFUSED",
  "NAME_NOT_FOUND",
  "TIMEOUT",
  "CONNECTION_FAILED",
  "TLS_FAILED",
  "INVALID_ANSWER",
] as const;
export type OutboundFailure = (typeof outboundFailures)[number];

/** A request that got no answer; its message names no address. */
export class OutboundError extends Error {
  readonly reason: OutboundFailure;
  constructor(reason: OutboundFailure, message: string, options?: ErrorOptions) {
    super(message, options);
    this.reason = reason;
  }
}

export interface OutboundRequest {
  headers: Record<string, string>;
  body: string;
  /** For all of it, from the name's resolution to the head of the answer. */
  timeoutMs: number;
}

/** So much of an answer is read away to keep the connection; a longer one is cut off. */
const drainedBytes = 64 * 1024;
const idleMs = 5_000;
const longestUrl = 2_000;

/**
 * Speaks HTTP to addresses that strangers chose: https to the public Internet alone, whatever form the address has and whatever its name
 * resolves to, since the connection goes to the very address that was checked. Redirects are never followed.
 */
export class Outbound {
  readonly #allow: Networks | undefined;
  readonly #resolver = new dns.Resolver({ timeout: 2_000, tries: 2 });
  readonly #secure = new https.Agent({ keepAlive: true, timeout: idleMs, maxFreeSockets: 16 });
  readonly #plain = new http.Agent({ keepAlive: true, timeout: idleMs, maxFreeSockets: 16 });

  constructor({ allow, nameServers }: OutboundOptions) {
    this.#allow = allow;
    if (nameServers) this.#resolver.setServers(nameServers);
  }

  /** What is wrong with a URL, as far as it can be told without asking a name server; undefined for a good one. */
  problemOf(text: string): string | undefined {
    if (text.length > longestUrl) return `may have at most ${longestUrl} characters`;
    const url = URL.parse(text);
    if (!url || !["https:", "http:"].includes(url.protocol) || url.hostname === "") return "must be a URL that begins with https://";
    if (url.protocol === "http:" && !this.#allow) return "must begin with https://";
    if (url.username !== "" || url.password !== "") return "may not hold a user's name or password";
    if (url.hash !== "") return "may not hold a fragment";
    const port = url.port === "" ? 443 : Number(url.port);
    if (port < 1024 && port !== 443 && port !== 80) return "may name port 443, 80, or one from 1024 on";
    const literal = literalOf(url);
    if (literal && !this.#isPermitted(literal, url.protocol)) return "may not name an address that is not of the public Internet";
    return undefined;
  }

  /**
   * Posts to a URL. Resolves to the status, whatever it is; the answer's body is thrown away. Rejects with an OutboundError.
   */
  async post(text: string, request: OutboundRequest): Promise<{ status: number }> {
    const problem = this.problemOf(text);
    if (problem) throw new OutboundError("ADDRESS_REFUSED", `the URL ${problem}`);
    const url = new URL(text);
    const signal = AbortSignal.timeout(request.timeoutMs);
    const status = (await this.#send(url, request, signal, true)) ?? (await this.#send(url, request, signal, false));
    return { status: status ?? 0 };
  }

  /** Closes the connections that are kept. */
  close(): void {
    this.#secure.destroy();
    this.#plain.destroy();
    this.#resolver.cancel();
  }

  /** Resolves to the status; to undefined where a kept connection was closed by the other side just as it was used again. */
  #send(url: URL, { headers, body }: OutboundRequest, signal: AbortSignal, stored: boolean): Promise<number | undefined> {
    return new Promise((resolve, reject) => {
      const secure = url.protocol === "https:";
      const options: RequestOptions = {
        method: "POST",
        headers: { ...headers, "content-length": String(Buffer.byteLength(body)) },
        agent: stored && (secure ? this.#secure : this.#plain),
        lookup: this.#lookup(url.protocol),
        signal,
      };
      const sent: ClientRequest = (secure ? https : http).request(url, options, (response) => {
        resolve(response.statusCode);
        let read = 0;
        response.on("data", (piece: Buffer) => {
          read += piece.length;
          if (read > drainedBytes) response.destroy();
        });
        // The status is known: how the rest ends changes nothing.
        response.on("error", () => undefined);
      });
      sent.on("error", (error: NodeJS.ErrnoException) => {
        if (sent.reusedSocket && !signal.aborted && (error.code === "ECONNRESET" || error.code === "EPIPE")) resolve(undefined);
        else reject(failureOf(error, signal));
      });
      sent.end(body);
    });
  }

  /** Resolves a name for a connection, and refuses it when a single one of its addresses is not permitted. */
  #lookup(protocol: string): LookupFunction {
    return (hostname, options, callback) => {
      this.#resolve(hostname).then(
        (addresses) => {
          const refused = addresses.some((address) => !this.#isPermitted(address, protocol));
          const [first] = addresses;
          if (refused || first === undefined) {
            const error = refused
              ? new OutboundError("ADDRESS_REFUSED", "the host's name leads to an address that is not of the public Internet")
              : new OutboundError("NAME_NOT_FOUND", "the host's name is not known");
            callback(error, "", 0);
          } else if (options.all) {
            const found = addresses.map((address) => ({ address, family: isIP(address) }));
            callback(null, found);
          } else callback(null, first, isIP(first));
        },
        (error: Error) => callback(error, "", 0),
      );
    };
  }

  /** Asks the name servers, by c-ares: a name that never resolves must not take threads that the whole process waits for. */
  async #resolve(hostname: string): Promise<string[]> {
    const name = hostname.replace(/\.$/, "").toLowerCase();
    if (name === "localhost" || name.endsWith(".localhost")) return ["127.0.0.1"];
    const found = await Promise.allSettled([this.#resolver.resolve4(name), this.#resolver.resolve6(name)]);
    return found.flatMap((response) => (response.status === "fulfilled" ? response.value : []));
  }

  #isPermitted(address: string, protocol: string): boolean {
    if (this.#allow && isIn(this.#allow, address)) return true;
    return protocol === "https:" && isPublicAddress(address);
  }
}

/** The IP address that a URL names, in its plain form: decimal, octal and hexadecimal ones were translated when it was parsed. */
function literalOf({ hostname }: URL): string | undefined {
  const host = hostname.replace(/^\[|\]$/g, "");
  return isIP(host) === 0 ? undefined : host;
}

function failureOf(error: NodeJS.ErrnoException, signal: AbortSignal): OutboundError {
  if (error instanceof OutboundError) return error;
  const options = { cause: error };
  if (signal.aborted) return new OutboundError("TIMEOUT", "no answer came in time", options);
  const code = error.code ?? "";
  if (code.startsWith("HPE_")) return new OutboundError("INVALID_ANSWER", "the answer is no HTTP", options);
  if (code === "EPROTO" || code.startsWith("ERR_TLS") || code.startsWith("ERR_SSL") || /CERT|SIGNED|ISSUER/.test(code))
    return new OutboundError("TLS_FAILED", `no trusted TLS connection came about (${code})`, options);
  return new OutboundError("CONNECTION_FAILED", `the connection failed (${code || "no reason given"})`, options);
}
