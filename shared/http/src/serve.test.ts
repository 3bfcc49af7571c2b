import { connect } from "node:net";
import { expect, test } from "vitest";
import { createLogger } from "./log.ts";
import { serve } from "./serve.ts";
import { untilClosed } from "./testing/raw.ts";

const options = {
  host: "127.0.0.1",
  port: 0,
  log: createLogger("test", "silent"),
  requestTimeoutMs: 5_000,
  drainDelayMs: 0,
  drainTimeoutMs: 60_000,
  close: async () => undefined,
};

test("a connection without any request does not delay the shutdown", async () => {
  const server = await serve({ ...options, fetch: () => new Response("ok") });
  const socket = connect(server.port, "127.0.0.1");
  await new Promise((resolve) => socket.once("connect", resolve));
  const closed = new Promise((resolve) => socket.once("close", resolve));
  await Promise.all([server.stop(), closed]);
  expect(server.draining).toBe(true);
});

test("a running request gets its response before the server stops", async () => {
  let begin: (() => void) | undefined;
  let finish: (() => void) | undefined;
  const begun = new Promise<void>((resolve) => (begin = resolve));
  const finished = new Promise<void>((resolve) => (finish = resolve));
  const fetchSlowly = async () => {
    begin?.();
    await finished;
    return new Response("ended");
  };
  const server = await serve({ ...options, fetch: fetchSlowly });
  const response = fetch(server.url);
  await begun;
  const stopped = server.stop();
  finish?.();
  expect(await (await response).text()).toBe("ended");
  await stopped;
  await expect(fetch(server.url)).rejects.toThrow();
});

test.each([
  ["nothing", "", /^(HTTP\/1\.1 408 |$)/],
  ["half a head", "GET / HTTP/1.1\r\nHost: a\r\nX-Slow: ", /^HTTP\/1\.1 408 /],
  ["half a body", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n12345", /^HTTP\/1\.1 408 /],
  ["half a chunk", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n12", /^HTTP\/1\.1 408 /],
])("a client that sends %s and then stalls gets 408 and is cut off, while others are served", async (_what, text, expected) => {
  const read = async (request: Request) => new Response(await request.text());
  const server = await serve({ ...options, requestTimeoutMs: 300, fetch: read });
  const slow = untilClosed(server.url, text);
  expect(await (await fetch(server.url, { method: "POST", body: "quick" })).text()).toBe("quick");
  expect(await slow).toMatch(expected);
  await server.stop();
});

test("a connection past the limit is closed, until another one has left", async () => {
  const server = await serve({ ...options, connections: 2, fetch: () => new Response("ok") });
  const held = [connect(server.port, "127.0.0.1"), connect(server.port, "127.0.0.1")];
  await Promise.all(held.map((socket) => new Promise((resolve) => socket.once("connect", resolve))));
  const request = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
  expect(await untilClosed(server.url, request)).toBe("");
  const [first] = held;
  const left = new Promise((resolve) => first?.once("close", resolve));
  first?.end();
  await left;
  expect(await untilClosed(server.url, request)).toMatch(/^HTTP\/1\.1 200 /);
  for (const socket of held) socket.destroy();
  await server.stop();
});
