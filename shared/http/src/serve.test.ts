import { connect } from "node:net";
import { expect, test } from "vitest";
import { createLogger } from "./log.ts";
import { serve } from "./serve.ts";

const options = {
  host: "127.0.0.1",
  port: 0,
  log: createLogger("test", "silent"),
  requestTimeoutMs: 5_000,
  drainDelayMs: 0,
  drainTimeoutMs: 60_000,
  close: async () => undefined,
};

test("a connection on which nothing was ever sent does not hold up the stop", async () => {
  const server = await serve({ ...options, fetch: () => new Response("ok") });
  const socket = connect(server.port, "127.0.0.1");
  await new Promise((resolve) => socket.once("connect", resolve));
  const closed = new Promise((resolve) => socket.once("close", resolve));
  await Promise.all([server.stop(), closed]);
  expect(server.draining).toBe(true);
});

test("a request that runs is answered before the server stops", async () => {
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
  const answer = fetch(server.url);
  await begun;
  const stopped = server.stop();
  finish?.();
  expect(await (await answer).text()).toBe("ended");
  await stopped;
  await expect(fetch(server.url)).rejects.toThrow();
});
