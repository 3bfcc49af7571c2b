import type { IncomingMessage } from "node:http";
import { BlockList, isIP, isIPv4, isIPv6 } from "node:net";

/** The proxies whose `X-Forwarded-For` is trusted; undefined: none. */
export type TrustedProxies = BlockList | undefined;

/**
 * The address of a request's client: the connection's own or, if that is a trusted proxy, the last address in `X-Forwarded-For` that is not
 * a trusted proxy. Addresses further left could be forged by the client. "unknown" if the connection is gone.
 */
export function clientAddress({ socket, headers }: IncomingMessage, trusted: TrustedProxies): string {
  const peer = plain(socket.remoteAddress ?? "unknown");
  const forwarded = headers["x-forwarded-for"];
  if (trusted === undefined || typeof forwarded !== "string" || !isTrusted(peer, trusted)) return peer;
  let client = peer;
  for (const hop of forwarded.split(",").reverse()) {
    const address = plain(withoutPort(hop.trim()));
    if (isIP(address) === 0) break;
    client = address;
    if (!isTrusted(address, trusted)) break;
  }
  return client;
}

/**
 * The origin that a client requested, such as `https://crm.example.com`: its Host header with the scheme from a trusted proxy. Undefined
 * for an invalid Host header.
 */
export function originOf({ socket, headers }: IncomingMessage, trusted: TrustedProxies): string | undefined {
  if (!/^(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?$/.test(headers.host ?? "")) return undefined;
  const isBehindProxy = trusted !== undefined && isTrusted(plain(socket.remoteAddress ?? "unknown"), trusted);
  const isSecure = isBehindProxy && headers["x-forwarded-proto"] === "https";
  return `${isSecure ? "https" : "http"}://${headers.host}`;
}

/** Parses `10.0.0.0/8, 192.0.2.7, fd00::/8`; empty: no proxy. Throws an Error that names the fault. */
export function parseTrustedProxies(text: string): TrustedProxies {
  if (text.trim() === "") return undefined;
  const trusted = new BlockList();
  for (const part of text.split(",")) {
    const [, address = "", prefix] = /^\s*([0-9A-Fa-f:.]+)(?:\/(\d{1,3}))?\s*$/.exec(part) ?? [];
    const bits = isIPv4(address) ? 32 : 128;
    if (isIP(address) === 0 || Number(prefix ?? 0) > bits)
      throw new Error(`must hold networks written address or address/bits, not "${part.trim()}"`);
    trusted.addSubnet(address, Number(prefix ?? bits), familyOf(address));
  }
  return trusted;
}

/** A dual-stack listener reports IPv4 clients as IPv4-mapped IPv6 addresses. */
function plain(address: string): string {
  return address.startsWith("::ffff:") && isIPv4(address.slice(7)) ? address.slice(7) : address;
}

/** Some proxies write `192.0.2.1:4711` and `[2001:db8::1]:4711`. */
function withoutPort(hop: string): string {
  return /^\[([^\]]+)\](?::\d+)?$/.exec(hop)?.[1] ?? /^(\d[\d.]*):\d+$/.exec(hop)?.[1] ?? hop;
}

function isTrusted(address: string, trusted: BlockList): boolean {
  return isIP(address) !== 0 && trusted.check(address, familyOf(address));
}

function familyOf(address: string): "ipv4" | "ipv6" {
  return isIPv4(address) ? "ipv4" : "ipv6";
}

/** The key of limits by address: an IPv4 address, or the /64 network of an IPv6 address, since one client has all addresses in it. */
export function networkOf(address: string): string {
  if (!isIPv6(address)) return address;
  const [head = "", tail] = address.split("::");
  const groups = head === "" ? [] : head.split(":");
  if (tail !== undefined) {
    const last = tail === "" ? [] : tail.split(":");
    groups.push(...Array<string>(Math.max(0, 8 - groups.length - last.length)).fill("0"), ...last);
  }
  const network = groups.slice(0, 4).map((group) => Number.parseInt(group, 16).toString(16));
  return `${network.join(":")}::/64`;
}
