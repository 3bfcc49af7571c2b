import { expect, test } from "vitest";
import { Pace } from "./pace.ts";

test("goes on at once within a portion; behind it the event loop turns, and whether others are there is asked for", async () => {
  let asked = 0;
  const hasOthers = () => {
    asked++;
    return false;
  };
  const within = new Pace({ hasOthers, portionMs: 60_000, pieceMs: 60_000 });
  expect([within.done(), within.done(), asked]).toEqual([undefined, undefined, 0]);
  const behind = new Pace({ hasOthers, portionMs: 0, pieceMs: 5 });
  let turned = false;
  setImmediate(() => {
    turned = true;
  });
  await behind.done();
  expect([turned, asked]).toEqual([true, 1]);
});
