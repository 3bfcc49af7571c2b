import { describe, expect, it } from "vitest";
import { isVoid, median, percentile, ratiosByRound, spreadOf } from "./statistics.ts";

describe("the median", () => {
  it("is the middle value whatever the order, and does not follow an outlier", () => {
    expect(median([9, 1, 1_000])).toBe(9);
    expect(median([4])).toBe(4);
  });

  it("of an even number is between the two middle ones", () => {
    expect(median([4, 1, 3, 2])).toBe(2.5);
  });

  it("of nothing is refused", () => {
    expect(() => median([])).toThrow("nothing");
  });

  it("sorts numbers as numbers", () => {
    expect(median([10, 9, 100])).toBe(10);
  });
});

describe("a percentile", () => {
  it("is a value that occurred, by the nearest rank", () => {
    const values = Array.from({ length: 100 }, (_, index) => 100 - index);
    expect(percentile(values, 0.5)).toBe(50);
    expect(percentile(values, 0.99)).toBe(99);
    expect(percentile(values, 1)).toBe(100);
    expect(percentile([7], 0.01)).toBe(7);
  });
});

describe("ratios", () => {
  it("are taken round by round: a round that was slow for both changes nothing", () => {
    expect(spreadOf(ratiosByRound([50, 5, 52], [100, 10, 100]))).toEqual({ median: 0.5, min: 0.5, max: 0.52 });
  });

  it("of different numbers of rounds are refused", () => {
    expect(() => ratiosByRound([1, 2], [1])).toThrow("2 rounds");
  });
});

describe("a run", () => {
  it("is void when its limit spread by more than a fifth of its median", () => {
    expect(isVoid([100, 110, 121])).toBe(false);
    expect(isVoid([100, 110, 123])).toBe(true);
    expect(isVoid([100])).toBe(false);
  });
});
