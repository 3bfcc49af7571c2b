import { dateOrTime } from "@cell/http/openapi/document";
import { z } from "zod";
import { hasForm } from "../lists/field-types.ts";

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
