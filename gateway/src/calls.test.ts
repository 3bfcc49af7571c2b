import { once } from "node:events";
import { createServer, type RequestListener } from "node:http";
import type { AddressInfo } from "node:net";
import { text } from "node:stream/consumers";
import { afterEach, expect, test } from "vitest";
import { Calls } from "./calls.ts";

const calls = new Calls(1_000);
let end: () => void = () => undefined;

afterEach(() => end());

async function startCell(answer: RequestListener): Promise<string> {
  const server = createServer(answer).listen(0, "127.0.0.1");
  await once(server, "listening");
  end = () => {
    server.closeAllConnections();
    server.close();
  };
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

test("a call carries its body and gets the answer's", async () => {
  const url = await startCell(async (incoming, outgoing) => {
    outgoing.writeHead(201).end(`${incoming.method} ${incoming.url} ${incoming.headers["content-type"]} ${await text(incoming)}`);
  });
  const answer = await calls.send(url, { method: "POST", path: "/a?b=c", headers: { "content-type": "x/y" }, body: "d", silentMs: 1_000 });
  expect([answer.statusCode, await text(answer)]).toEqual([201, "POST /a?b=c x/y d"]);
});

test("a cell that says nothing is not waited for", async () => {
  const url = await startCell(() => undefined);
  await expect(calls.send(url, { path: "/", silentMs: 50 })).rejects.toThrow("no answer in time");
});

test.each([
  ["stops", () => undefined],
  ["is cut", () => end()],
])("a body that %s half way is no whole one", async (_how, then) => {
  const url = await startCell((_incoming, outgoing) => {
    outgoing.write("half");
  });
  const answer = await calls.send(url, { path: "/", silentMs: 50 });
  await once(answer, "readable");
  then();
  await expect(text(answer)).rejects.toThrow();
});

test("nobody listens", async () => {
  const url = await startCell(() => undefined);
  end();
  await expect(calls.send(url, { path: "/", silentMs: 50 })).rejects.toThrow("ECONNREFUSED");
});

test("closing cuts what is under way", async () => {
  const url = await startCell(() => closing.close());
  const closing = new Calls(1_000);
  await expect(closing.send(url, { path: "/", silentMs: 1_000 })).rejects.toThrow();
});
