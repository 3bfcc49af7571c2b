import type { FieldProblem } from "@cell/problem";
import { z } from "zod";
import { sensitive } from "./masking.ts";

/** Text as it is stored: NFC, trimmed, without NUL or lone surrogates. `max` counts characters. */
export function text(max: number, min = 0): z.ZodType<string, string> {
  return z
    .string()
    .refine((value) => value.isWellFormed() && !value.includes("\0"), {
      error: "holds a NUL or half a character",
      params: { code: "INVALID_FORMAT" },
    })
    .overwrite((value) => value.normalize("NFC").trim())
    .min(min)
    .max(max);
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
