import { promises as dns } from "node:dns";
import http, { type ClientRequest, type RequestOptions } from "node:http";
import https from "node:https";
import { isIP, type LookupFunction } from "node:net";
import { isIn, isPublicAddress, type Networks } from "./addresses.ts";

export interface OutboundOptions {
  /** Networks that are allowed although they are not public, also by plain http; undefined: none. */
  allow?: Networks | undefined;
  /** DNS servers, as `address:port`; default: those of the system. */
  nameServers?: readonly string[];
}

/** Why there was no response, or no usable one. */
export const outboundFailures = [
  "ADDRESS_REFUSED",
  "NAME_NOT_FOUND",
  "TIMEOUT",
  "CONNECTION_FAILED",
  "TLS_FAILED",
  "INVALID_ANSWER",
] as const;
export type OutboundFailure = (typeof outboundFailures)[number];

/** A request without a response; its message names no address. */
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
  /** From DNS resolution to the head of the response. */
  timeoutMs: number;
}

/** At most this much of a response is read to reuse the connection; a longer response closes it. */
const drainedBytes = 64 * 1024;
const idleMs = 5_000;
const longestUrl = 2_000;

/**
 * HTTP client for URLs that tenants chose. It only connects by https to public addresses: it checks the very address that it connects to,
 * whatever form the URL has and whatever its name resolves to. It never follows redirects.
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

  /** What is wrong with a URL, as far as it can be told without DNS; undefined for a valid one. */
  problemOf(text: string): string | undefined {
    if (text.length > longestUrl) return `may have at most ${longestUrl} characters`;
    // A parser drops tabs and line ends: what is stored would not be what is asked.
    if (/[\s\p{Cc}]/u.test(text)) return "may not hold blanks or line ends: write a blank as %20";
    const url = URL.parse(text);
    if (!url || !["https:", "http:"].includes(url.protocol) || url.hostname === "") return "must be a URL that begins with https://";
    if (url.protocol === "http:" && !this.#allow) return "must begin with https://";
    if (url.username !== "" || url.password !== "") return "may not hold a user's name or password";
    if (url.hash !== "") return "may not hold a fragment";
    const port = url.port === "" ? 443 : Number(url.port);
    if (port < 1024 && port !== 443 && port !== 80) return "may name port 443, 80, or one from 1024 on";
    const literal = literalOf(url);
    if (literal && !this.#isPermitted(literal, url.protocol)) return "may not name an address outside the public Internet";
    return undefined;
  }

  /** Posts to a URL and discards the response's body. Resolves to the status, whatever it is; rejects with an OutboundError. */
  async post(text: string, request: OutboundRequest): Promise<{ status: number }> {
    const problem = this.problemOf(text);
    if (problem) throw new OutboundError("ADDRESS_REFUSED", `the URL ${problem}`);
    const url = new URL(text);
    const signal = AbortSignal.timeout(request.timeoutMs);
    const status = (await this.#send(url, request, signal, true)) ?? (await this.#send(url, request, signal, false));
    return { status: status ?? 0 };
  }

  /** Closes the kept-alive connections. */
  close(): void {
    this.#secure.destroy();
    this.#plain.destroy();
    this.#resolver.cancel();
  }

  /** Resolves to the status, or to undefined if the other side closed a kept-alive connection just as it was reused. */
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
        // The status is known: an error in the rest changes nothing.
        response.on("error", () => undefined);
      });
      sent.on("error", (error: NodeJS.ErrnoException) => {
        if (sent.reusedSocket && !signal.aborted && (error.code === "ECONNRESET" || error.code === "EPIPE")) resolve(undefined);
        else reject(failureOf(error, signal));
      });
      sent.end(body);
    });
  }

  /** Resolves a name for a connection; fails if any of its addresses is not allowed. */
  #lookup(protocol: string): LookupFunction {
    return (hostname, options, callback) => {
      this.#resolve(hostname).then(
        (addresses) => {
          const refused = addresses.some((address) => !this.#isPermitted(address, protocol));
          const [first] = addresses;
          if (refused || first === undefined) {
            const error = refused
              ? new OutboundError("ADDRESS_REFUSED", "the host's name resolves to an address outside the public Internet")
              : new OutboundError("NAME_NOT_FOUND", "the host's name does not resolve");
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

  /** Resolves by c-ares: getaddrinfo would occupy threads that the whole process shares, for as long as a name does not resolve. */
  async #resolve(hostname: string): Promise<string[]> {
    if (isLocalName(hostname)) return [loopback];
    const name = hostname.replace(/\.$/, "").toLowerCase();
    const found = await Promise.allSettled([this.#resolver.resolve4(name), this.#resolver.resolve6(name)]);
    return found.flatMap((response) => (response.status === "fulfilled" ? response.value : []));
  }

  #isPermitted(address: string, protocol: string): boolean {
    if (this.#allow && isIn(this.#allow, address)) return true;
    return protocol === "https:" && isPublicAddress(address);
  }
}

/** The IP address in a URL, normalized by the URL parser from decimal, octal and hexadecimal forms. */
function literalOf({ hostname }: URL): string | undefined {
  if (isLocalName(hostname)) return loopback;
  const host = hostname.replace(/^\[|\]$/g, "");
  return isIP(host) === 0 ? undefined : host;
}

const loopback = "127.0.0.1";

/** Whether a name means this very machine (RFC 6761), whatever name servers say. */
function isLocalName(hostname: string): boolean {
  return /(^|\.)localhost\.?$/i.test(hostname);
}

function failureOf(error: NodeJS.ErrnoException, signal: AbortSignal): OutboundError {
  if (error instanceof OutboundError) return error;
  const options = { cause: error };
  if (signal.aborted) return new OutboundError("TIMEOUT", "no response arrived in time", options);
  const code = error.code ?? "";
  if (code.startsWith("HPE_")) return new OutboundError("INVALID_ANSWER", "the response is not HTTP", options);
  if (code === "EPROTO" || code.startsWith("ERR_TLS") || code.startsWith("ERR_SSL") || /CERT|SIGNED|ISSUER/.test(code))
    return new OutboundError("TLS_FAILED", `no trusted TLS connection could be made (${code})`, options);
  return new OutboundError("CONNECTION_FAILED", `the connection failed (${code || "no reason given"})`, options);
}
