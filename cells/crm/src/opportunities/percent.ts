import { problem } from "../imports/domain.ts";
import type { RowProblem } from "../imports/importer.ts";

const percentText = /^(\d{1,3}(?:\.\d{1,10})?)\s?(%)?$/;

/** Parses a percentage from text such as `50` or `50%`; `isExact`: it has a percent sign. Undefined for other values. */
export function readPercent(value: unknown): { value: number; isExact: boolean } | undefined {
  if (typeof value !== "string" || value.length > 40) return undefined;
  const [, number, sign] = percentText.exec(value.normalize("NFKC").trim()) ?? [];
  return number === undefined ? undefined : { value: Number(number), isExact: sign !== undefined };
}

/** Whether a probability without a percent sign could be a fraction of 1: other systems write 0.4 for 40 %. */
export function isAmbiguousPercent(row: { probability?: number | null | undefined; probabilityOverridden?: boolean | undefined }): boolean {
  const { probability, probabilityOverridden } = row;
  return typeof probability === "number" && probability > 0 && probability < 1 && probabilityOverridden !== false;
}

export const ambiguousPercent: RowProblem = problem(
  "probability",
  "INVALID_FORMAT",
  "may be a percentage or a fraction of 1: write 40% or 0.4% for what is meant",
);
