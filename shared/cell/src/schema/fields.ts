import { nameKey, storable } from "@cell/http";
import { z } from "zod";
import { sensitive } from "./masking.ts";

/** Size limit of a PostgreSQL index key, beside the id in the same index. */
const mostKeyBytes = 2_600;

/** Text in its stored form: see `storable`. `max` counts characters. */
export function text(max: number, min = 0): z.ZodType<string, string> {
  return z
    .string()
    .check((payload) => {
      const stored = storable(payload.value, max);
      if ("text" in stored) payload.value = stored.text;
      else
        payload.issues.push({
          code: "custom",
          input: payload.value,
          message: stored.fault,
          params: { code: "INVALID_FORMAT" },
          continue: false,
        });
    })
    .min(min)
    .max(max);
}

/** A text that is unique by its name key. The key must fit into an index: some characters, such as ﷺ, case-fold into many. */
export function uniqueText(max: number, min = 0): z.ZodType<string, string> {
  return text(max, min).refine((value) => Buffer.byteLength(nameKey(value)) <= mostKeyBytes, {
    error: `is too long: it may have at most ${mostKeyBytes} bytes in the form in which it is compared`,
    params: { code: "TOO_LONG" },
  });
}

/** An optional text: an empty one becomes null. */
export function nullable(of: z.ZodType<string, string>): z.ZodType<string | null, string | null> {
  return of.nullable().overwrite((value) => (value === "" ? null : value));
}

/** The id of a record, in lower case. */
export function id() {
  return z.uuid().overwrite((value) => value.toLowerCase());
}

/** A name: 1 to 255 characters. */
export function nameText(): z.ZodType<string, string> {
  return text(255, 1);
}

const phonePattern = /^\+?[\d\s().\-/]{3,40}$/;

/** A phone number: 3 to 15 digits, with separators or without, optionally with a leading "+". Sensitive. */
export function phone(): z.ZodType<string, string> {
  const digits = (value: string) => value.replace(/\D/g, "").length;
  return sensitive(
    "phone",
    text(40).refine(
      (value) => value === "" || value.includes("**") || (phonePattern.test(value) && digits(value) >= 3 && digits(value) <= 15),
      {
        error: "is not a valid phone number: 3 to 15 digits, separators and a leading + allowed",
        params: { code: "INVALID_FORMAT" },
      },
    ),
  );
}

const emailPattern = /^[^\s@<>()",;:]+@[^\s@<>()",;:.]+(?:\.[^\s@<>()",;:.]+)+$/;

/** An e-mail address. Sensitive. */
export function email(): z.ZodType<string, string> {
  return sensitive(
    "email",
    text(254).refine((value) => value === "" || value.includes("**") || emailPattern.test(value), {
      error: "is not a valid e-mail address",
      params: { code: "INVALID_FORMAT" },
    }),
  );
}
