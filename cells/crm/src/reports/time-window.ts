import {
  addDays,
  addMonths,
  type Day,
  dayAt,
  firstDayFrom,
  hasForm,
  type Instant,
  type Period,
  periodMonths,
  periodName,
  startOfDay,
  startOfPeriod,
} from "@cell/cell";
import { badField } from "@cell/problem";

/** From `from` up to and excluding `to`. */
export interface Window {
  from: Instant;
  to: Instant;
}

/** The part of a window within one calendar period. */
export interface Bucket extends Window {
  period: string;
}

export interface TimesQuery {
  from?: string | undefined;
  to?: string | undefined;
  asOf?: string | undefined;
}

const maxBuckets = 120;

/** The moment of a report: `asOf`, where a date means its beginning, or now. Throws BAD_REQUEST. */
export function asOfOf({ asOf }: TimesQuery, timezone: string, now: Instant): Instant {
  return asOf === undefined ? now : span("asOf", asOf, timezone).start;
}

/**
 * The window of a report. Default of `to`: the end of the day of `asOf`; default of `from`: twelve months before the window's last day.
 * Throws BAD_REQUEST.
 */
export function windowOf(query: TimesQuery, timezone: string, asOf: Instant): Window {
  const to = query.to === undefined ? startOfDay(addDays(dayAt(asOf, timezone), 1), timezone) : span("to", query.to, timezone).end;
  const lastDay = dayAt(new Date(Date.parse(to) - 1).toISOString(), timezone);
  const from = query.from === undefined ? startOfDay(addMonths(lastDay, -12), timezone) : span("from", query.from, timezone).start;
  return ordered({ from, to });
}

/** The window of a forecast; default: twelve months from the beginning of the period of `asOf` or of `from`. Throws BAD_REQUEST. */
export function forecastWindowOf(query: TimesQuery, timezone: string, asOf: Instant, period: Period): Window {
  const current = startOfPeriod(dayAt(asOf, timezone), period);
  const from = query.from === undefined ? startOfDay(current, timezone) : span("from", query.from, timezone).start;
  const end = () => startOfDay(addMonths(startOfPeriod(dayAt(from, timezone), period), 12), timezone);
  return ordered({ from, to: query.to === undefined ? end() : span("to", query.to, timezone).end });
}

/** A window split at the beginnings of calendar periods. Throws BAD_REQUEST for more than 120 parts. */
export function bucketsOf({ from, to }: Window, timezone: string, period: Period): Bucket[] {
  const buckets: Bucket[] = [];
  let start = from;
  while (start < to) {
    if (buckets.length === maxBuckets) throw badField("to", "OUT_OF_RANGE", `makes more than ${maxBuckets} periods`);
    const first = startOfPeriod(dayAt(start, timezone), period);
    const next = startOfDay(addMonths(first, periodMonths[period]), timezone);
    const end = next < to ? next : to;
    buckets.push({ period: periodName(first, period), from: start, to: end });
    start = end;
  }
  return buckets;
}

/** The dates that begin in a window: from the first up to and excluding the second. */
export function daysOf({ from, to }: Window, timezone: string): { fromDay: Day; toDay: Day } {
  return { fromDay: firstDayFrom(from, timezone), toDay: firstDayFrom(to, timezone) };
}

function ordered(window: Window): Window {
  if (window.from >= window.to) throw badField("to", "OUT_OF_RANGE", "must be after from");
  return window;
}

/** A moment from a request: a month or a date, which last from `start` up to `end`, or a time with its offset. */
function span(path: string, text: string, timezone: string): { start: Instant; end: Instant } {
  const isMonth = /^\d{4}-(0[1-9]|1[0-2])$/.test(text);
  const first = isMonth ? `${text}-01` : text;
  if (!hasForm("time", first) || Number(first.slice(0, 4)) < 1900 || Number(first.slice(0, 4)) > 2999) {
    throw badField(
      path,
      "INVALID_FORMAT",
      "must be a date (2026-01-31), a month (2026-01) or a time with its offset (2026-01-31T08:00:00Z), from 1900 to 2999",
    );
  }
  if (first.length > 10) {
    const instant = new Date(first).toISOString();
    return { start: instant, end: instant };
  }
  const next = isMonth ? addMonths(first, 1) : addDays(first, 1);
  return { start: startOfDay(first, timezone), end: startOfDay(next, timezone) };
}
