import { badField } from "@cell/problem";

/** An instant as RFC 3339 UTC text with milliseconds; such texts sort by time. */
export type Instant = string;
/** A calendar date, `2026-01-31`. */
export type Day = string;

/** Periods of a calendar, by their lengths in months. */
export const periodMonths = { month: 1, quarter: 3 } as const;
export type Period = keyof typeof periodMonths;

const dayMs = 24 * 60 * 60 * 1000;
const formats = new Map<string, Intl.DateTimeFormat>();

/** The local time at an instant, expressed as UTC. */
function wallClock(atMs: number, timezone: string): number {
  let format = formats.get(timezone);
  if (!format) {
    const digits = { year: "numeric", month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit", second: "2-digit" } as const;
    format = new Intl.DateTimeFormat("en-US", { timeZone: timezone, hourCycle: "h23", ...digits });
    formats.set(timezone, format);
  }
  const parts = Object.fromEntries(format.formatToParts(atMs).map(({ type, value }) => [type, Number(value)]));
  const { year = 0, month = 1, day = 1, hour = 0, minute = 0, second = 0 } = parts;
  return Date.UTC(year, month - 1, day, hour, minute, second);
}

/** The date in a timezone at an instant. */
export function dayAt(instant: Instant, timezone: string): Day {
  return new Date(wallClock(Date.parse(instant), timezone)).toISOString().slice(0, 10);
}

/** The first instant of a date in a timezone, also if its midnight does not exist or occurs twice. */
export function startOfDay(day: Day, timezone: string): Instant {
  const midnight = Date.parse(`${day}T00:00:00Z`);
  const wholeSeconds = (atMs: number) => Math.floor(atMs / 1000) * 1000;
  const candidates = [midnight - dayMs, midnight + dayMs].map((near) => midnight - (wallClock(near, timezone) - wholeSeconds(near)));
  const inside = candidates.filter((atMs) => dayAt(new Date(atMs).toISOString(), timezone) === day);
  return new Date(Math.min(...(inside.length > 0 ? inside : [Math.max(...candidates)]))).toISOString();
}

export function addDays(day: Day, days: number): Day {
  return new Date(Date.parse(`${day}T00:00:00Z`) + days * dayMs).toISOString().slice(0, 10);
}

/** The first instant after a date in a timezone. */
export function endOfDay(day: Day, timezone: string): Instant {
  return startOfDay(addDays(day, 1), timezone);
}

/** A span of time: from the first instant of a date up to the next date, or a single instant. */
export interface Span {
  from: Instant;
  /** Exclusive; undefined for an instant. */
  to: Instant | undefined;
}

/** The span of a date or of a time with its offset, in a timezone (IANA). */
export function spanOf(moment: string, timezone: string): Span {
  if (moment.length > 10) return { from: moment, to: undefined };
  if (hasTimezone(moment)) return { from: startOfDay(moment, timezone), to: endOfDay(moment, timezone) };
  return { from: `${moment}T00:00:00Z`, to: moment === "9999-12-31" ? "infinity" : `${addDays(moment, 1)}T00:00:00Z` };
}

/** The instant of a date or a time; a date stands for the beginning of its day in the timezone (IANA). */
export function instantOf(moment: string, timezone: string): Instant {
  return moment.length > 10 ? new Date(moment).toISOString() : startOfDay(moment, timezone);
}

/** The calendar year of an instant in a timezone. */
export function yearOf(instant: Instant, timezone: string): number {
  return Number(dayAt(instant, timezone).slice(0, 4));
}

/** The same day of another month, or the last day of a shorter month. */
export function addMonths(day: Day, months: number): Day {
  const [year = 0, month = 1, date = 1] = day.split("-").map(Number);
  const lastDate = new Date(Date.UTC(year, month + months, 0)).getUTCDate();
  return new Date(Date.UTC(year, month - 1 + months, Math.min(date, lastDate))).toISOString().slice(0, 10);
}

/** The first day of the period that contains a day. */
export function startOfPeriod(day: Day, period: Period): Day {
  const month = Number(day.slice(5, 7)) - 1;
  return `${day.slice(0, 5)}${String(month - (month % periodMonths[period]) + 1).padStart(2, "0")}-01`;
}

/** The name of the period that contains a day: `2026-02`, `2026-Q1`. */
export function periodName(day: Day, period: Period): string {
  return period === "month" ? day.slice(0, 7) : `${day.slice(0, 4)}-Q${Math.ceil(Number(day.slice(5, 7)) / 3)}`;
}

/** The first date that begins at or after an instant. */
export function firstDayFrom(instant: Instant, timezone: string): Day {
  const day = dayAt(instant, timezone);
  return startOfDay(day, timezone) < instant ? addDays(day, 1) : day;
}

/** Throws BAD_REQUEST at `path` for a window that does not end after its beginning: an empty result would hide the mistake. */
export function assertWindow(from: string, to: string, path: string, begin = "from"): void {
  if (Date.parse(from) >= Date.parse(to)) throw badField(path, "OUT_OF_RANGE", `must be after ${begin}`);
}

/** Whether the timezones' rules cover a date. Dates outside stand for the beginning and the end of time, in UTC. */
function hasTimezone(day: Day): boolean {
  return day >= "1900" && day < "9999";
}
