import { vi } from "vitest";

/** Replaces the monotonic clock of this process; returns a function that advances it. `vi.restoreAllMocks` restores it. */
export function takeClock(): (milliseconds: number) => void {
  const real = performance.now.bind(performance);
  let aheadMs = 0;
  vi.spyOn(performance, "now").mockImplementation(() => real() + aheadMs);
  return (milliseconds) => {
    aheadMs += milliseconds;
  };
}
