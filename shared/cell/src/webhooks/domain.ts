const second = 1_000;
const minute = 60 * second;
const hour = 60 * minute;

/** Back-off after each failed attempt, in milliseconds: almost a day in total. */
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

/** An endpoint that has only failed for this long is disabled. */
export const failingForMs = 5 * 24 * hour;

/** Outcome of an attempt. */
export type DeliveryOutcome =
  | { status: "delivered" }
  | { status: "failed"; disable: "gone" | undefined }
  | { status: "pending"; delayMs: number };

/**
 * The outcome of a delivery's attempt number `tries` since it was queued: any 2xx is success, 410 ends it and disables its endpoint,
 * everything else is retried. `chance`, from 0 to 1, spreads the retries by a tenth in either direction.
 */
export function outcomeOf(statusCode: number | null, tries: number, chance: number, delaysMs: readonly number[]): DeliveryOutcome {
  if (statusCode !== null && statusCode >= 200 && statusCode < 300) return { status: "delivered" };
  if (statusCode === 410) return { status: "failed", disable: "gone" };
  const delay = delaysMs[tries - 1];
  if (delay === undefined) return { status: "failed", disable: undefined };
  return { status: "pending", delayMs: Math.round(delay * (0.9 + chance * 0.2)) };
}
