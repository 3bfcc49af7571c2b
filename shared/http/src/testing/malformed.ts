import { once } from "node:events";
import { connect } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { headLimits } from "../head.ts";
import { untilClosed } from "./raw.ts";

/** The server under test. */
export interface Target {
  url: string;
  /** A path that takes a POST of `{"name": …}`; the smuggled request goes to the same path with a trailing slash. */
  path: string;
  /** Header lines that authorize the request, without `Host`, each with its line end. New ones for each request. */
  identity(): string;
  /** Number of smuggled requests that were carried out. */
  hiddenRuns(): Promise<number>;
}

type Write = (target: Target) => string | Buffer;

const body = (name: string) => JSON.stringify({ name });

function post(target: Target, path: string, name: string, headers = ""): string {
  const content = body(name);
  return `POST ${path} HTTP/1.1\r\nHost: a\r\n${target.identity()}Content-Type: application/json\r\n${headers}Content-Length: ${content.length}\r\n\r\n${content}`;
}

/** The smuggled request, which an attacker hides behind a visible one. */
const hidden = (target: Target) => post(target, `${target.path}/`, "hidden");

/** A POST with hostile framing, followed by the smuggled request. */
const framed =
  (headers: string, content: string): Write =>
  (target) =>
    `POST ${target.path} HTTP/1.1\r\nHost: a\r\n${target.identity()}Content-Type: application/json\r\n${headers}\r\n\r\n${content}${hidden(target)}`;

/** A GET with hostile lines in its head, followed by the smuggled request. */
const headed =
  (lines: string): Write =>
  (target) =>
    `GET ${target.path} HTTP/1.1\r\nHost: a\r\n${target.identity()}${lines}\r\n\r\n${hidden(target)}`;

const line =
  (first: string, host = "Host: a\r\n"): Write =>
  (target) =>
    `${first.replace("@", target.path)}\r\n${host}${target.identity()}\r\n${hidden(target)}`;

const chunked = "Transfer-Encoding: chunked";
const lines = (count: number) => Array.from({ length: count }, (_, index) => `X-${index}: 1`).join("\r\n");

const attacks: Record<string, [write: Write, status: number]> = {
  "both a length and chunks": [framed(`Content-Length: 5\r\n${chunked}`, "0\r\n\r\n"), 400],
  "chunks and then a length": [framed(`${chunked}\r\nContent-Length: 5`, "0\r\n\r\n"), 400],
  "two lengths": [framed("Content-Length: 13\r\nContent-Length: 0", "{}"), 400],
  "the same length twice": [framed("Content-Length: 2\r\nContent-Length: 2", "{}"), 400],
  "a list of lengths": [framed("Content-Length: 2, 2", "{}"), 400],
  "a negative length": [framed("Content-Length: -1", ""), 400],
  "a length with a sign": [framed("Content-Length: +2", "{}"), 400],
  "a length in hexadecimal": [framed("Content-Length: 0x2", "{}"), 400],
  "a length with an exponent": [framed("Content-Length: 2e0", "{}"), 400],
  "a length of two numbers": [framed("Content-Length: 2 2", "{}"), 400],
  "a length past all numbers": [framed("Content-Length: 99999999999999999999", "{}"), 400],
  "an unknown coding": [framed("Transfer-Encoding: xchunked", "0\r\n\r\n"), 400],
  "chunked and identity": [framed(`${chunked}\r\nTransfer-Encoding: identity`, "0\r\n\r\n"), 400],
  "identity and chunked": [framed(`Transfer-Encoding: identity\r\n${chunked}`, "0\r\n\r\n"), 400],
  "chunked twice": [framed("Transfer-Encoding: chunked, chunked", "0\r\n\r\n"), 400],
  "chunked before gzip": [framed("Transfer-Encoding: chunked, gzip", "0\r\n\r\n"), 400],
  "a blank before the colon of the coding": [framed("Transfer-Encoding : chunked", "0\r\n\r\n"), 400],
  "a vertical tab before the coding": [framed("Transfer-Encoding: \x0bchunked", "0\r\n\r\n"), 400],
  "a vertical tab in the name": [framed("Transfer\x0b-Encoding: chunked", "0\r\n\r\n"), 400],
  "a coding on a folded line": [framed("Transfer-Encoding:\r\n chunked", "0\r\n\r\n"), 400],
  "a chunk's size past all numbers": [framed(chunked, "fffffffffffffffff\r\n"), 400],
  "a chunk's size with a sign": [framed(chunked, "-1\r\n"), 400],
  "a chunk's size in other digits": [framed(chunked, "0x2\r\n{}\r\n0\r\n\r\n"), 400],
  "a chunk longer than its size": [framed(chunked, "2\r\n{}{}\r\n0\r\n\r\n"), 400],
  "a chunk's size ended by a bare line feed": [framed(chunked, "2\n{}\r\n0\r\n\r\n"), 400],
  "a chunk's extension with a bare carriage return": [framed(chunked, "2;a=\rb\r\n{}\r\n0\r\n\r\n"), 400],
  "a blank before a colon": [headed("X-Blank : 1"), 400],
  "a folded line": [headed("X-Folded: a\r\n b"), 400],
  "a header without a colon": [headed("X-None"), 400],
  "a header without a name": [headed(": 1"), 400],
  "a header whose name is no token": [headed("X(1): 1"), 400],
  "NUL in a header": [headed("X-Nul: a\0b"), 400],
  "NUL in a header's name": [headed("X\0: 1"), 400],
  "a bare carriage return in a header": [headed("X-Cr: a\rb"), 400],
  "a bare line feed between headers": [headed("X-A: 1\nX-B: 2"), 400],
  "a second host": [headed("Host: b"), 400],
  "a second tenant": [headed("X-Tenant-Id: other"), 400],
  "a second request id": [headed("X-Request-ID: other"), 400],
  "more header lines than there may be": [headed(lines(headLimits.lines + 1)), 431],
  "a second tenant behind more header lines than are read": [headed(`${lines(headLimits.lines + 1)}\r\nX-Tenant-Id: other`), 431],
  "headers of more bytes than there may be": [headed(`X-Long: ${"a".repeat(headLimits.bytes)}`), 431],
  "an unknown expectation": [headed("Expect: 200-ok"), 400],
  "no host": [line("GET @ HTTP/1.1", ""), 400],
  "another server's URL": [line("GET http://other@ HTTP/1.1"), 400],
  "a target that is an authority": [line("GET other:80 HTTP/1.1"), 400],
  "a target that is a star": [line("OPTIONS * HTTP/1.1"), 400],
  "a target of too many characters": [line(`GET @?a=${"a".repeat(headLimits.targetLength)} HTTP/1.1`), 400],
  "dot segments": [line("GET @/../hidden HTTP/1.1"), 400],
  "encoded dot segments": [line("GET @/%2e%2E/hidden HTTP/1.1"), 400],
  "an encoded slash": [line("GET @%2fhidden HTTP/1.1"), 400],
  "an empty segment": [line("GET @//hidden HTTP/1.1"), 400],
  "a backslash": [line("GET @\\hidden HTTP/1.1"), 400],
  "an encoded NUL": [line("GET @%00 HTTP/1.1"), 400],
  "a fragment": [line("GET @#hidden HTTP/1.1"), 400],
  "broken percent-encoding": [line("GET @%zz HTTP/1.1"), 400],
  TRACE: [line("TRACE @ HTTP/1.1"), 405],
  CONNECT: [line("CONNECT other:443 HTTP/1.1"), 405],
  "HTTP/0.9": [() => "GET /\r\n\r\n", 400],
  "the preface of HTTP/2": [() => "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400],
  "HTTP/3.0": [line("GET @ HTTP/3.0"), 400],
  "a version of two digits": [line("GET @ HTTP/1.10"), 400],
  "a version in small letters": [line("GET @ http/1.1"), 400],
  "a blank at the beginning": [line(" GET @ HTTP/1.1"), 400],
  "a tab for a blank": [line("GET\t@ HTTP/1.1"), 400],
  "a line feed for a line end": [
    (target) => `GET ${target.path} HTTP/1.1\nHost: a\n${target.identity().replaceAll("\r", "")}\n${hidden(target)}`,
    400,
  ],
  "a TLS hello": [() => Buffer.from("1603010200010001fc0303aabbccdd", "hex"), 400],
  "1 MB of noise": [() => Buffer.alloc(1024 * 1024, 0xa5), 400],
};

/** Tests how a server handles malformed HTTP. `start` is called once. */
export function describeMalformed(start: () => Promise<Target>): void {
  let target: Promise<Target> | undefined;
  const started = () => (target ??= start());

  describe("malformed HTTP gets an error in the error form, the connection ends, and no smuggled request runs", () => {
    test.each(Object.entries(attacks))("%s", async (_what, [write, status]) => {
      const server = await started();
      const response = await untilClosed(server.url, write(server));
      expect(response).toMatch(new RegExp(`^HTTP/1\\.1 ${status} `));
      expect(response.toLowerCase()).toContain("\r\nconnection: close\r\n");
      const [head = "", content = ""] = response.split("\r\n\r\n");
      const rejection = JSON.parse(content) as Record<string, unknown>;
      expect(rejection).toMatchObject({ code: expect.any(String), message: expect.any(String), requestId: expect.any(String) });
      expect(head.toLowerCase()).toContain(`x-request-id: ${rejection.requestId}`);
      expect(response.match(/HTTP\/1\.1 \d/g)?.length).toBe(1);
      await alive(server);
      expect(await server.hiddenRuns()).toBe(0);
    });
  });

  test("a request by HTTP/1.0 gets its response, and the connection ends", async () => {
    const server = await started();
    const response = await untilClosed(server.url, `GET ${server.path} HTTP/1.0\r\nHost: a\r\n${server.identity()}\r\n`);
    expect(response).toMatch(/^HTTP\/1\.[01] 200 /);
  });

  test("a request that arrives byte by byte, in chunks with extensions and a trailer, is read correctly", async () => {
    const server = await started();
    const content = body("in pieces");
    const head = `POST ${server.path} HTTP/1.1\r\nHost: a\r\n${server.identity()}Content-Type: application/json\r\nConnection: close\r\n${chunked}\r\n\r\n`;
    const text = `${head}5;a=b\r\n${content.slice(0, 5)}\r\n${(content.length - 5).toString(16)}\r\n${content.slice(5)}\r\n0\r\nX-Tenant-Id: other\r\n\r\n`;
    const { hostname, port } = new URL(server.url);
    const socket = connect({ port: Number(port), host: hostname, noDelay: true });
    await once(socket, "connect");
    let received = "";
    socket.setEncoding("latin1").on("data", (data: string) => {
      received += data;
    });
    for (const character of text) {
      socket.write(character, "latin1");
      await new Promise((resolve) => setImmediate(resolve));
    }
    await once(socket, "close");
    expect(received).toMatch(/^HTTP\/1\.1 20[01] /);
  });

  test("a client that sends Expect: 100-continue gets 100, and then its response", async () => {
    const server = await started();
    const content = body("expected");
    const { hostname, port } = new URL(server.url);
    const socket = connect(Number(port), hostname);
    socket.write(
      `POST ${server.path} HTTP/1.1\r\nHost: a\r\n${server.identity()}Content-Type: application/json\r\nConnection: close\r\nExpect: 100-continue\r\nContent-Length: ${content.length}\r\n\r\n`,
    );
    const chunks = socket.setEncoding("latin1")[Symbol.asyncIterator]();
    expect((await chunks.next()).value).toMatch(/^HTTP\/1\.1 100 Continue\r\n\r\n$/);
    socket.write(content);
    expect((await chunks.next()).value).toMatch(/^HTTP\/1\.1 20[01] /);
    socket.destroy();
  });

  test("a client that disconnects within a head or a body leaves nothing behind, and the server continues", async () => {
    const server = await started();
    const whole = hidden(server);
    const cuts = [1, 20, whole.indexOf("\r\n\r\n") + 2, whole.length - 8, whole.length - 1];
    for (const cut of cuts) {
      for (const leave of ["end", "destroy", "resetAndDestroy"] as const) {
        const { hostname, port } = new URL(server.url);
        const socket = connect(Number(port), hostname);
        await once(socket, "connect");
        socket.resume().on("error", () => undefined);
        socket.write(whole.slice(0, cut), "latin1");
        await sleep(5);
        socket[leave]();
        if (!socket.closed) await once(socket, "close");
      }
    }
    await alive(server);
    expect(await server.hiddenRuns()).toBe(0);
  });
}

async function alive(server: Target): Promise<void> {
  expect((await fetch(`${server.url}/health`)).status).toBe(200);
}
