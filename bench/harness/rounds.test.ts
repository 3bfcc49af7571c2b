import { expect, it } from "vitest";
import { interleave, type Side } from "./rounds.ts";

it("every side runs once a round, and every second round in the opposite order", async () => {
  const order: string[] = [];
  const side = (name: string): Side => ({
    name,
    async run(seconds, round) {
      order.push(`${name}${round}`);
      return { count: 1, perSecond: seconds, errors: 0, cpuUs: {} };
    },
  });
  const measured = await interleave(
    { limit: side("a"), product: side("b"), absent: undefined as Side | undefined },
    { rounds: 3, seconds: 2 },
  );
  expect(order).toEqual(["a0", "b0", "b1", "a1", "a2", "b2"]);
  expect(measured.product.samples.map(({ perSecond }) => perSecond)).toEqual([2, 2, 2]);
  expect(measured.absent).toBeUndefined();
});
