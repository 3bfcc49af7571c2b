const second = 1_000;
const minute = 60 * second;
const hour = 60 * minute;

/** How long after each failed attempt the next one comes, in milliseconds: almost a day in all. */
export const retryDelaysMs: readonly number[] = [
  5 * second,
  30 * second,
  2 * minute,
  10 * minute,
  30 * minute,
  hour,
  2 * hour,
  4 * hour,
  8 * hour,
  8 * hour,
];

/** An endpoint that has only failed for so long is disabled. */
export const failingForMs = 5 * 24 * hour;

/** What follows from an attempt. */
export type DeliveryOutcome =
  | { status: "delivered" }
  | { status: "failed"; disable: "gone" | undefined }
  | { status: "pending"; delayMs: number };

/**
 * What becomes of a delivery after its attempt number `tries` since it was queued: any 2xx has delivered it, 410 ends it and its endpoint,
 * all else is tried again. `chance`, from 0 to 1, spreads the retries by a tenth to either side.
 */
export function outcomeOf(statusCode: number | null, tries: number, chance: number, delaysMs: readonly number[]): DeliveryOutcome {
  if (statusCode !== null && statusCode >= 200 && statusCode < 300) return { status: "delivered" };
  if (statusCode === 410) return { status: "failed", disable: "gone" };
  const delay = delaysMs[tries - 1];
  if (delay === undefined) return { status: "failed", disable: undefined };
  return { status: "pending", delayMs: Math.round(delay * (0.9 + chance * 0.2)) };
}
