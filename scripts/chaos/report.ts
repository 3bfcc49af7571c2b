import type { Result } from "./run.ts";

const columns: readonly [name: string, width: number, text: (result: Result) => string][] = [
  ["fault", -16, ({ fault }) => fault],
  ["rounds", 6, ({ rounds }) => String(rounds)],
  ["s", 6, ({ seconds }) => seconds.toFixed(0)],
  ["acknowledged", 12, ({ acknowledged }) => String(acknowledged)],
  ["refused", 8, ({ refused }) => String(refused)],
  ["unknown", 8, ({ unknown }) => String(unknown)],
  ["lost", 5, ({ lost }) => String(lost)],
  ["twice", 5, ({ twice }) => String(twice)],
  ["outage s", 9, ({ outageMs }) => (outageMs / 1000).toFixed(1)],
  ["longest s", 9, ({ longestMs }) => (longestMs / 1000).toFixed(1)],
  ["verdict", -8, ({ broken }) => (broken.length === 0 ? "kept" : "BROKEN")],
];

/** The names over the table's columns. */
export function head(): string {
  return columns.map(([name, width]) => pad(name, width)).join("  ");
}

/** One fault's line of the table. */
export function line(result: Result): string {
  return columns.map(([, width, text]) => pad(text(result), width)).join("  ");
}

/** To the right in a positive width, to the left in a negative one. */
function pad(text: string, width: number): string {
  return width < 0 ? text.padEnd(-width) : text.padStart(width);
}
