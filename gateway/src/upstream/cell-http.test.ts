import { once } from "node:events";
import { createServer, type RequestListener } from "node:http";
import type { AddressInfo } from "node:net";
import { text } from "node:stream/consumers";
import { afterEach, expect, test } from "vitest";
import { CellHttp } from "./cell-http.ts";

const cellHttp = new CellHttp(1_000);
let end: () => void = () => undefined;

afterEach(() => end());

async function startCell(response: RequestListener): Promise<string> {
  const server = createServer(response).listen(0, "127.0.0.1");
  await once(server, "listening");
  end = () => {
    server.closeAllConnections();
    server.close();
  };
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

test("a call to a cell sends its body and reads the response's", async () => {
  const url = await startCell(async (incoming, outgoing) => {
    outgoing.writeHead(201).end(`${incoming.method} ${incoming.url} ${incoming.headers["content-type"]} ${await text(incoming)}`);
  });
  const response = await cellHttp.send(url, {
    method: "POST",
    path: "/a?b=c",
    headers: { "content-type": "x/y" },
    body: "d",
    silentMs: 1_000,
  });
  expect([response.statusCode, await text(response)]).toEqual([201, "POST /a?b=c x/y d"]);
});

test("a call to a silent cell times out", async () => {
  const url = await startCell(() => undefined);
  await expect(cellHttp.send(url, { path: "/", silentMs: 50 })).rejects.toThrow("no response in time");
});

test.each([
  ["stops", () => undefined],
  ["is cut", () => end()],
])("a response body that %s half way is not complete", async (_how, then) => {
  const url = await startCell((_incoming, outgoing) => {
    outgoing.write("half");
  });
  const response = await cellHttp.send(url, { path: "/", silentMs: 50 });
  await once(response, "readable");
  then();
  await expect(text(response)).rejects.toThrow();
});

test("nobody listens", async () => {
  const url = await startCell(() => undefined);
  end();
  await expect(cellHttp.send(url, { path: "/", silentMs: 50 })).rejects.toThrow("ECONNREFUSED");
});

test("closing destroys calls in progress", async () => {
  const url = await startCell(() => closing.close());
  const closing = new CellHttp(1_000);
  await expect(closing.send(url, { path: "/", silentMs: 1_000 })).rejects.toThrow();
});
