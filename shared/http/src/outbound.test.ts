import { createSocket } from "node:dgram";
import { once } from "node:events";
import { createServer, type Server } from "node:http";
import { type AddressInfo, createServer as createTcpServer } from "node:net";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { isPublicAddress, parseNetworks } from "./addresses.ts";
import { Outbound, OutboundError } from "./outbound.ts";

/** A DNS server on loopback over UDP. Each name has a list of answers, one per query; the last one repeats. */
async function startNameServer(names: Record<string, string[][]>) {
  const socket = createSocket("udp4");
  const asked: Record<string, number> = {};
  socket.on("message", (query, from) => {
    const labels: string[] = [];
    let at = 12;
    for (let length = query[at] ?? 0; length > 0; length = query[at] ?? 0) {
      labels.push(query.toString("latin1", at + 1, at + 1 + length));
      at += 1 + length;
    }
    const name = labels.join(".").toLowerCase();
    const type = query.readUInt16BE(at + 1);
    const question = query.subarray(12, at + 5);
    const lists = names[name];
    if (lists === undefined) return;
    const time = asked[`${name} ${type}`] ?? 0;
    asked[`${name} ${type}`] = time + 1;
    const addresses = (lists[Math.min(time, lists.length - 1)] ?? []).filter((address) => address.includes(":") === (type === 28));
    const responses = addresses.map((address) => {
      const data = address.includes(":") ? ipv6Bytes(address) : Buffer.from(address.split(".").map(Number));
      const head = Buffer.from([0xc0, 0x0c, 0, type, 0, 1, 0, 0, 0, 0, 0, data.length]);
      return Buffer.concat([head, data]);
    });
    const header = Buffer.from(query.subarray(0, 12));
    header.writeUInt16BE(0x8180, 2);
    header.writeUInt16BE(responses.length, 6);
    header.writeUInt32BE(0, 8);
    socket.send(Buffer.concat([header, question, ...responses]), from.port, from.address);
  });
  socket.bind(0, "127.0.0.1");
  await once(socket, "listening");
  return { address: `127.0.0.1:${socket.address().port}`, close: () => socket.close() };
}

function ipv6Bytes(address: string): Buffer {
  const [head = "", tail = ""] = address.split("::");
  const groups = (text: string) => (text === "" ? [] : text.split(":"));
  const missing = 8 - groups(head).length - groups(tail).length;
  const all = [...groups(head), ...Array(address.includes("::") ? missing : 0).fill("0"), ...groups(tail)];
  return Buffer.from(all.map((group) => group.padStart(4, "0")).join(""), "hex");
}

let hits = 0;
let server: Server;
let port: number;
let nameServer: Awaited<ReturnType<typeof startNameServer>>;
let open: Outbound;
let closed: Outbound;

beforeAll(async () => {
  server = createServer((_, response) => {
    hits++;
    response.writeHead(200).end("ok");
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  port = (server.address() as AddressInfo).port;
  nameServer = await startNameServer({
    "inner.test": [["127.0.0.1"]],
    "mixed.test": [["8.8.8.8", "127.0.0.1"]],
    "six.test": [["::1"]],
    "mapped.test": [["::ffff:7f00:1"]],
    "private.test": [["10.1.2.3"]],
    "rebinding.test": [["127.0.0.1"], ["10.0.0.1"]],
    "empty.test": [[]],
  });
  const options = { nameServers: [nameServer.address] };
  open = new Outbound({ ...options, allow: parseNetworks("127.0.0.1") });
  closed = new Outbound(options);
});
afterAll(() => {
  open.close();
  closed.close();
  nameServer.close();
  server.closeAllConnections();
  server.close();
});

const post = async (outbound: Outbound, url: string, timeoutMs = 1_500) => {
  try {
    return (await outbound.post(url, { headers: {}, body: "{}", timeoutMs })).status;
  } catch (error) {
    if (error instanceof OutboundError) return error.reason;
    throw error;
  }
};

describe("an outbound request", () => {
  test("an outbound request reaches an allowed network, by address and by name, over a kept-alive connection", async () => {
    hits = 0;
    for (const host of ["127.0.0.1", "2130706433", "0x7f.1", "inner.test"])
      expect(await post(open, `http://${host}:${port}/`), host).toBe(200);
    expect(hits).toBe(4);
  });

  test.each([
    "127.0.0.1",
    "127.1",
    "2130706433",
    "0x7f000001",
    "0177.0.0.1",
    "127.0.0.2",
    "[::1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[64:ff9b::7f00:1]",
    "[fe80::1]",
    "[fd00::1]",
    "0.0.0.0",
    "169.254.169.254",
    "localhost",
    "localhost.",
    "a.localhost",
    "inner.test",
    "mixed.test",
    "six.test",
    "mapped.test",
    "private.test",
  ])("an outbound request never reaches %s", async (host) => {
    hits = 0;
    expect(await post(closed, `https://${host}:${port}/`)).toBe("ADDRESS_REFUSED");
    expect(hits).toBe(0);
  });

  test("an outbound request connects to the checked address, and is rejected once its name resolves to a private one", async () => {
    const allowed = new Outbound({ nameServers: [nameServer.address], allow: parseNetworks("127.0.0.1") });
    hits = 0;
    const url = `http://rebinding.test:${port}/`;
    expect(await post(allowed, url)).toBe(200);
    server.closeAllConnections();
    expect(await post(allowed, url)).toBe("ADDRESS_REFUSED");
    expect(hits).toBe(1);
    allowed.close();
  });

  test("an outbound request by plain http needs an allowed network, and never goes to a public address", async () => {
    expect(closed.problemOf("http://example.com/")).toContain("https://");
    expect(open.problemOf("http://8.8.8.8/")).toContain("public");
    expect(open.problemOf("https://8.8.8.8/")).toBeUndefined();
    expect(open.problemOf("http://127.0.0.1:8080/")).toBeUndefined();
  });

  test("an outbound request times out if DNS or the receiver never responds, and says which", async () => {
    expect(await post(closed, "https://silent.test/", 300)).toBe("TIMEOUT");
    expect(await post(closed, "https://empty.test/")).toBe("NAME_NOT_FOUND");
    const silent = createTcpServer().listen(0, "127.0.0.1");
    await once(silent, "listening");
    const at = (silent.address() as AddressInfo).port;
    expect(await post(open, `http://127.0.0.1:${at}/`, 300)).toBe("TIMEOUT");
    silent.close();
    expect(await post(open, `http://127.0.0.1:${at}/`)).toBe("CONNECTION_FAILED");
    expect(await post(open, `https://127.0.0.1:${port}/`)).toBe("TLS_FAILED");
  });
});

test.each([
  ["8.8.8.8", true],
  ["100.63.255.255", true],
  ["100.64.0.1", false],
  ["172.15.0.1", true],
  ["172.31.255.255", false],
  ["192.0.2.1", false],
  ["198.19.255.255", false],
  ["224.0.0.1", false],
  ["255.255.255.255", false],
  ["2606:4700::1111", true],
  ["::", false],
  ["::ffff:8.8.8.8", false],
  ["64:ff9b::808:808", false],
  ["2001:0:1::1", false],
  ["2001:db8::1", false],
  ["2002:7f00:1::", false],
  ["fc00::1", false],
  ["fe80::1", false],
  ["ff02::1", false],
  ["nonsense", false],
])("%s is public: %s", (address, expected) => {
  expect(isPublicAddress(address)).toBe(expected);
});

test.each(["127.0.0.1/33", "localhost", "10.0.0.0/", "10.0.0.0/8/8", "", "fd00::/129", "10.0.0.0/ 8"])(
  "%j is not a list of networks",
  (text) => {
    expect(() => parseNetworks(text)).toThrow("must hold networks");
  },
);
