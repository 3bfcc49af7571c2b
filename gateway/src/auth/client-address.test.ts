import type { IncomingMessage } from "node:http";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startTestCell, type TestCell } from "../testing/cell.ts";
import { createDatabase, createTenant, startTestGateway } from "../testing/gateway.ts";
import { clientAddress, networkOf, parseTrustedProxies } from "./client-address.ts";

let cell: TestCell;
let databaseUrl: string;

beforeAll(async () => {
  cell = await startTestCell();
  databaseUrl = await createDatabase();
});

afterAll(() => cell.close());

/** The client address in the cell's request, which the audit trail stores. */
async function forwardedAddress(trustedProxies: string, forwarded: string): Promise<unknown> {
  const gateway = await startTestGateway(databaseUrl, `crm=${cell.url}`, { TRUSTED_PROXIES: trustedProxies });
  try {
    const { key } = await createTenant(gateway, "tenant-a");
    await gateway.call("/api/v1/crm/customers", { key, tenantId: "tenant-a", headers: { "x-forwarded-for": forwarded } });
    return cell.requests.at(-1)?.headers["x-forwarded-for"];
  } finally {
    await gateway.stop();
  }
}

test("a caller's own X-Forwarded-For is ignored", async () => {
  expect(await forwardedAddress("", "203.0.113.9")).toBe("127.0.0.1");
  expect(await forwardedAddress("10.0.0.0/8", "203.0.113.9")).toBe("127.0.0.1");
});

test("from a trusted proxy the cell is told the client's address, whatever the client wrote before it", async () => {
  expect(await forwardedAddress("127.0.0.0/8, 10.0.0.0/8", "198.51.100.1, 203.0.113.9, 10.1.2.3")).toBe("203.0.113.9");
});

describe("the client's address", () => {
  const from = (remoteAddress: string | undefined, forwarded?: string) =>
    clientAddress(
      // The only parts of a request that it reads.
      { socket: { remoteAddress }, headers: { "x-forwarded-for": forwarded } } as unknown as IncomingMessage,
      parseTrustedProxies("10.0.0.0/8,fd00::/8,192.0.2.7"),
    );

  test.each<[string, string | undefined, string | undefined, string]>([
    ["is the connection's when there is no header", "10.0.0.1", undefined, "10.0.0.1"],
    ["is the connection's when that is no proxy", "203.0.113.5", "1.2.3.4", "203.0.113.5"],
    ["is the one before the proxy", "10.0.0.1", "203.0.113.9", "203.0.113.9"],
    ["is the one before all proxies", "::ffff:10.0.0.1", "9.9.9.9, 203.0.113.9, 192.0.2.7", "203.0.113.9"],
    ["is the first proxy's when there are only proxies", "10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"],
    ["is not read past what is no address", "10.0.0.1", "9.9.9.9, unknown, 10.0.0.2", "10.0.0.2"],
    ["is read from an empty header as the proxy's", "10.0.0.1", "", "10.0.0.1"],
    ["may come with a port", "10.0.0.1", "203.0.113.9:4711", "203.0.113.9"],
    ["may be an IPv6 one with a port", "fd00::1", "[2001:db8::1]:4711", "2001:db8::1"],
    ["may be an IPv4-mapped IPv6 one", "10.0.0.1", "::ffff:203.0.113.9", "203.0.113.9"],
    ["is unknown when the connection is gone", undefined, "203.0.113.9", "unknown"],
  ])("%s", (_name, peer, forwarded, address) => {
    expect(from(peer, forwarded)).toBe(address);
  });
});

test("limits by address use an IPv4 address or an IPv6 network of 64 bits", () => {
  const sameNetwork = ["2001:db8:0:1::1", "2001:db8::1:0:0:0:2", "2001:0db8:0000:0001:ffff:ffff:ffff:ffff", "2001:db8:0:1::"];
  expect(new Set(sameNetwork.map(networkOf))).toEqual(new Set(["2001:db8:0:1::/64"]));
  expect(networkOf("2001:db8:0:2::1")).not.toBe("2001:db8:0:1::/64");
  expect(networkOf("::1")).toBe("0:0:0:0::/64");
  expect(networkOf("203.0.113.9")).toBe("203.0.113.9");
  expect(networkOf("unknown")).toBe("unknown");
});

test.each(["10.0.0.0/33", "fd00::/129", "10.0.0", "proxy.example", "10.0.0.1,", "10.0.0.0/x"])("TRUSTED_PROXIES=%j is rejected", (text) => {
  expect(() => parseTrustedProxies(text)).toThrow("must hold networks written address or address/bits");
});
