import { expect, test } from "vitest";
import { Throttle } from "./throttle.ts";

test("the throttle continues immediately within a chunk; after it, it yields to the event loop and counts requests", async () => {
  let asked = 0;
  const requests = () => {
    asked++;
    return 0;
  };
  const within = new Throttle({ requests, chunkMs: 60_000, pieceMs: 60_000 });
  expect([within.done(), within.done(), asked]).toEqual([undefined, undefined, 1]);
  const behind = new Throttle({ requests, chunkMs: 0, pieceMs: 5 });
  let turned = false;
  setImmediate(() => {
    turned = true;
  });
  await behind.done();
  expect([turned, asked]).toEqual([true, 3]);
});
