import { hasForm } from "@cell/cell";
import { z } from "zod";

/** A point in time as callers give it: a date, or a time with its offset. */
export function moment() {
  return z.string().refine((value) => hasForm("time", value) && value >= "1900" && value < "9999", {
    error: "must be a date (2026-01-31) or a time with its offset (2026-01-31T08:00:00Z), from 1900 to 9998",
    params: { code: "INVALID_FORMAT" },
  });
}

/** A calendar date that exists. */
export function day() {
  return z
    .string()
    .refine((value) => hasForm("date", value) && value >= "1900", {
      error: "must be a date such as 2026-01-31, from 1900 on",
      params: { code: "INVALID_FORMAT" },
    })
    .meta({ format: "date" });
}

/** The instant of a moment, RFC 3339 in UTC: a date begins at midnight in the timezone (IANA). */
export function instantOf(moment: string, timezone: string): string {
  if (moment.length > 10) return new Date(moment).toISOString();
  const midnight = Date.parse(`${moment}T00:00:00Z`);
  // The second look is for days on which the clock is changed.
  const near = midnight - offsetMs(midnight, timezone);
  return new Date(midnight - offsetMs(near, timezone)).toISOString();
}

/** The calendar year of an instant in a timezone. */
export function yearOf(instant: string, timezone: string): number {
  const at = Date.parse(instant);
  return new Date(at + offsetMs(at, timezone)).getUTCFullYear();
}

/** How far a timezone is ahead of UTC at a time. */
function offsetMs(at: number, timezone: string): number {
  const parts = new Intl.DateTimeFormat("en", { timeZone: timezone, timeZoneName: "longOffset" }).formatToParts(at);
  const name = parts.find(({ type }) => type === "timeZoneName")?.value ?? "";
  const [, sign, hours, minutes, seconds = "0"] = /^GMT([+-])(\d\d):(\d\d)(?::(\d\d))?$/.exec(name) ?? [];
  if (sign === undefined) return 0;
  return (sign === "-" ? -1000 : 1000) * (Number(hours) * 3600 + Number(minutes) * 60 + Number(seconds));
}
