import { nameKey, storable } from "@cell/http";
import type { FieldProblem } from "@cell/problem";
import { z } from "zod";
import { sensitive } from "./masking.ts";

/** What a key may have in an index of PostgreSQL beside the id that it stands with. */
const mostKeyBytes = 2_600;

/** Text as it is stored: see `storable`. `max` counts characters. */
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

/** A text that is unique as names are compared. Its key fits into an index: some characters, such as ﷺ, unfold into many. */
export function uniqueText(max: number, min = 0): z.ZodType<string, string> {
  return text(max, min).refine((value) => Buffer.byteLength(nameKey(value)) <= mostKeyBytes, {
    error: "is too long",
    params: { code: "TOO_LONG" },
  });
}

/** A text that may be absent: null, which an empty one becomes. */
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

/** A telephone number as people write it: 3 to 15 digits, with separators or without, optionally with "+" in front. Sensitive. */
export function phone(): z.ZodType<string, string> {
  const digits = (value: string) => value.replace(/\D/g, "").length;
  return sensitive(
    "phone",
    text(40).refine(
      (value) => value === "" || value.includes("**") || (phonePattern.test(value) && digits(value) >= 3 && digits(value) <= 15),
      {
        error: "is no telephone number: 3 to 15 digits, separators and a leading + allowed",
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
      error: "is no e-mail address",
      params: { code: "INVALID_FORMAT" },
    }),
  );
}

/** What zod found, as the fields of our BAD_REQUEST and the codes of an import's report. */
export function fieldProblems(error: z.core.$ZodError, at: string): FieldProblem[] {
  return error.issues.flatMap((issue) => {
    const path = [at, ...issue.path.map(String)].filter((part) => part !== "").join(".");
    if (issue.code === "unrecognized_keys") {
      return issue.keys.map((key) => ({ path: path === "" ? key : `${path}.${key}`, code: "UNKNOWN_FIELD", message: "is not known here" }));
    }
    return [{ path, ...describe(issue) }];
  });
}

function describe(issue: z.core.$ZodIssue): { code: string; message: string } {
  switch (issue.code) {
    case "invalid_type":
      return issue.input === undefined
        ? { code: "REQUIRED", message: "is required" }
        : { code: "INVALID_FORMAT", message: `must be ${article(issue.expected)}` };
    case "too_small":
      if (issue.origin === "string") return { code: "REQUIRED", message: "must not be empty" };
      return { code: "OUT_OF_RANGE", message: `must be ${issue.inclusive === false ? "more than" : "at least"} ${issue.minimum}` };
    case "too_big":
      if (issue.origin === "string") return { code: "TOO_LONG", message: `must have at most ${issue.maximum} characters` };
      return { code: "OUT_OF_RANGE", message: `must be ${issue.inclusive === false ? "less than" : "at most"} ${issue.maximum}` };
    case "invalid_value":
      return { code: "INVALID_ENUM", message: `must be one of ${issue.values.map(String).join(", ")}` };
    case "custom":
      return { code: String(issue.params?.code ?? "INVALID_FORMAT"), message: issue.message };
    default:
      return { code: "INVALID_FORMAT", message: issue.message };
  }
}

function article(type: string): string {
  return /^[aeiou]/.test(type) ? `an ${type}` : `a ${type}`;
}
