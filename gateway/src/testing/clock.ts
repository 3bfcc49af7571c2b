import { vi } from "vitest";

/** Takes over the clock by which this process measures time; returns what puts it forward. `vi.restoreAllMocks` gives it back. */
export function takeClock(): (milliseconds: number) => void {
  const real = performance.now.bind(performance);
  let aheadMs = 0;
  vi.spyOn(performance, "now").mockImplementation(() => real() + aheadMs);
  return (milliseconds) => {
    aheadMs += milliseconds;
  };
}
