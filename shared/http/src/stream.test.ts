import { once } from "node:events";
import { type IncomingMessage, request } from "node:http";
import { setImmediate } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { createLogger } from "./log.ts";
import { type HttpBindings, type Server, serve } from "./serve.ts";
import { abortSent, sendStream, sendWhenReady } from "./stream.ts";

const options = {
  host: "127.0.0.1",
  port: 0,
  log: createLogger("test", "silent"),
  requestTimeoutMs: 30_000,
  drainDelayMs: 0,
  drainTimeoutMs: 1_000,
  close: async () => undefined,
};
const json = { "content-type": "application/json" };

let server: Server | undefined;
afterEach(() => server?.stop());

/** The head of a response; the test reads the body. */
async function get(received: (outgoing: HttpBindings["outgoing"]) => Promise<Response>, method = "GET"): Promise<IncomingMessage> {
  server = await serve({ ...options, fetch: (_, { outgoing }) => received(outgoing) });
  const sent = request(server.url, { method, agent: false });
  sent.end();
  const [response] = (await once(sent, "response")) as [IncomingMessage];
  return response;
}

async function text(response: IncomingMessage): Promise<string> {
  const pieces: Buffer[] = [];
  for await (const piece of response) pieces.push(piece as Buffer);
  return Buffer.concat(pieces).toString();
}

function later<T>(): { promise: Promise<T>; resolve(value: T): void; reject(error: Error): void } {
  return Promise.withResolvers<T>();
}

describe("a JSON response that may take long", () => {
  const soon = { headAfterMs: 20, everyMs: 20 };

  test("begins with its head and white space, and is JSON in the end", async () => {
    const body = later<string>();
    const response = await get((outgoing) => sendWhenReady(outgoing, 200, json, body.promise, soon));
    expect([response.statusCode, response.headers["content-length"]]).toEqual([200, undefined]);
    await once(response, "readable");
    body.resolve('{"a":1}');
    const sent = await text(response);
    expect(sent).toMatch(/^ +\{"a":1\}$/);
    expect(JSON.parse(sent)).toEqual({ a: 1 });
  });

  test("a fast JSON response has its length, also for HEAD", async () => {
    const response = await get((outgoing) => sendWhenReady(outgoing, 200, json, Promise.resolve("{}"), soon));
    expect([response.headers["content-length"], await text(response)]).toEqual(["2", "{}"]);
    await server?.stop();
    const body = later<string>();
    setTimeout(() => body.resolve("{}"), 60);
    const head = await get((outgoing) => sendWhenReady(outgoing, 200, json, body.promise, soon), "HEAD");
    expect([head.statusCode, head.headers["content-length"], await text(head)]).toEqual([200, "2", ""]);
  });

  test("a slow JSON response that fails gives an error before its head was sent, and is cut off after it", async () => {
    const failing = (outgoing: HttpBindings["outgoing"], body: Promise<string>) =>
      sendWhenReady(outgoing, 200, json, body, soon).catch(() => {
        return abortSent(outgoing) ?? new Response("refused", { status: 503 });
      });
    const refused = await get((outgoing) => failing(outgoing, Promise.reject(new Error("at once"))));
    expect([refused.statusCode, await text(refused)]).toEqual([503, "refused"]);
    await server?.stop();
    const body = later<string>();
    const cut = await get((outgoing) => failing(outgoing, body.promise));
    body.reject(new Error("later"));
    await expect(text(cut)).rejects.toMatchObject({ code: "ECONNRESET" });
  });
});

describe("a stream", () => {
  test("a stream with a slow first chunk begins with its head", async () => {
    const first = later<string>();
    const response = await get((outgoing) =>
      sendStream(
        outgoing,
        200,
        {},
        (async function* () {
          yield await first.promise;
        })(),
        { headAfterMs: 20 },
      ),
    );
    expect(response.statusCode).toBe(200);
    first.resolve("row");
    expect(await text(response)).toBe("row");
  });

  describe("whose readers are watched", () => {
    const rate = { bytesPerSecond: 16 * 1024, windowMs: 200 };
    beforeEach(() => {
      vi.useFakeTimers({ toFake: ["setInterval", "clearInterval", "performance"] });
    });
    afterEach(() => {
      vi.useRealTimers();
    });

    test("is cut off if its reader is too slow", async () => {
      const chunk = Buffer.alloc(1024 * 1024);
      let hasEnded = false;
      const endless = async function* () {
        try {
          for (;;) yield chunk;
        } finally {
          hasEnded = true;
        }
      };
      const paused = (await get((outgoing) => sendStream(outgoing, 200, {}, endless(), { rate }))).pause();
      paused.on("error", () => undefined);
      while (!hasEnded) {
        vi.advanceTimersByTime(rate.windowMs / 10);
        await setImmediate();
      }
      await expect(text(paused)).rejects.toMatchObject({ code: "ECONNRESET" });
    });

    test("is not cut off if the stream itself is slow", async () => {
      const slow = async function* () {
        for (let piece = 0; piece < 5; piece++) {
          yield "row";
          vi.advanceTimersByTime(5 * rate.windowMs);
        }
      };
      expect(await text(await get((outgoing) => sendStream(outgoing, 200, {}, slow(), { rate })))).toBe("row".repeat(5));
    });
  });
});
