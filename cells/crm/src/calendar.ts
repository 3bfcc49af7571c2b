import { addDays, type Day, dateOrTime, dayAt, hasForm, type Instant, startOfDay } from "@cell/cell";
import { z } from "zod";

/** Periods of a calendar, by their lengths in months. */
export const periodMonths = { month: 1, quarter: 3 } as const;
export type Period = keyof typeof periodMonths;

/** Whether a text is a point in time as callers give it: a date, or a time with its offset, also one at which such a date begins somewhere. */
export function isMoment(value: string): boolean {
  const [first, end] = value.length > 10 ? ["1899-12-31", "9999-01-02"] : ["1900", "9999"];
  return hasForm("time", value) && value >= first && value < end;
}

/** A point in time as callers give it. */
export function moment() {
  return z
    .string()
    .refine(isMoment, {
      error: "must be a date (2026-01-31) or a time with its offset (2026-01-31T08:00:00Z), from 1900 to 9998",
      params: { code: "INVALID_FORMAT" },
    })
    .meta({ format: dateOrTime });
}

/** A time with its offset. */
export function instant() {
  return z
    .string()
    .refine((value) => isMoment(value) && value.length > 10, {
      error: "must be a time with its offset (2026-01-31T08:00:00Z), from 1900 to 9998",
      params: { code: "INVALID_FORMAT" },
    })
    .meta({ format: "date-time" });
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

/** The instant of a moment: a date begins where its day does in the timezone (IANA). */
export function instantOf(moment: string, timezone: string): Instant {
  return moment.length > 10 ? new Date(moment).toISOString() : startOfDay(moment, timezone);
}

/** The calendar year of an instant in a timezone. */
export function yearOf(instant: Instant, timezone: string): number {
  return Number(dayAt(instant, timezone).slice(0, 4));
}

/** The same day of another month, or that month's last one where it is shorter. */
export function addMonths(day: Day, months: number): Day {
  const [year = 0, month = 1, date = 1] = day.split("-").map(Number);
  const lastDate = new Date(Date.UTC(year, month + months, 0)).getUTCDate();
  return new Date(Date.UTC(year, month - 1 + months, Math.min(date, lastDate))).toISOString().slice(0, 10);
}

/** The first day of the period that a day lies in. */
export function startOfPeriod(day: Day, period: Period): Day {
  const month = Number(day.slice(5, 7)) - 1;
  return `${day.slice(0, 5)}${String(month - (month % periodMonths[period]) + 1).padStart(2, "0")}-01`;
}

/** A period's name by a day in it: `2026-02`, `2026-Q1`. */
export function periodName(day: Day, period: Period): string {
  return period === "month" ? day.slice(0, 7) : `${day.slice(0, 4)}-Q${Math.ceil(Number(day.slice(5, 7)) / 3)}`;
}

/** The first date whose beginning is not before an instant. */
export function firstDayFrom(instant: Instant, timezone: string): Day {
  const day = dayAt(instant, timezone);
  return startOfDay(day, timezone) < instant ? addDays(day, 1) : day;
}
