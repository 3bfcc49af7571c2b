import type { FieldProblem } from "./index.ts";

/** What zod found wrong in one place, as far as it is needed here: this package depends on no other. */
export interface SchemaIssue {
  readonly code?: string | undefined;
  readonly path: readonly PropertyKey[];
  readonly message: string;
  /** The type that was expected. */
  readonly expected?: unknown;
  /** What is too small or too large. */
  readonly origin?: unknown;
  readonly minimum?: unknown;
  readonly maximum?: unknown;
  readonly inclusive?: boolean | undefined;
  readonly values?: readonly unknown[];
  readonly keys?: readonly string[];
  readonly format?: unknown;
  readonly params?: Record<string, unknown> | undefined;
  /** The issues of each option of a union. */
  readonly errors?: readonly (readonly SchemaIssue[])[];
  /** The issues of a record's key. */
  readonly issues?: readonly SchemaIssue[];
}

const types: Readonly<Record<string, string>> = {
  array: "an array",
  boolean: "true or false",
  int: "a whole number",
  number: "a number",
  object: "an object",
  record: "an object",
  string: "a string",
};

const formats: Readonly<Record<string, string>> = {
  uuid: "must be a UUID such as 0197c3a2-7c1e-7b1a-9d53-0d6b6a1f2c10",
  datetime: "must be a time with its offset, such as 2026-01-31T08:00:00Z",
};

/** What a schema refused, field by field: one code for each kind of fault, and a message that says what would be right. */
export function fieldProblems({ issues }: { readonly issues: readonly SchemaIssue[] }, at = ""): FieldProblem[] {
  return issues.flatMap((issue) => problemsOf(issue, at));
}

function problemsOf(issue: SchemaIssue, at: string): FieldProblem[] {
  const path = [at, ...issue.path.map(String)].filter((part) => part !== "").join(".");
  if (issue.code === "unrecognized_keys")
    return (issue.keys ?? []).map((key) => ({
      path: path === "" ? key : `${path}.${key}`,
      code: "UNKNOWN_FIELD",
      message: "is an unknown field",
    }));
  if (issue.code === "invalid_union") {
    // The option whose type the value has says more than all of them together.
    const meant = issue.errors?.find((option) => !option.some(isWrongType));
    if (meant) return meant.flatMap((inner) => problemsOf(inner, path));
  }
  return [{ path, ...describe(issue) }];
}

function isWrongType({ code, path }: SchemaIssue): boolean {
  return code === "invalid_type" && path.length === 0;
}

function describe(issue: SchemaIssue): Omit<FieldProblem, "path"> {
  switch (issue.code) {
    case "invalid_type":
      // The only trace of a missing value where a schema reports no input.
      if (issue.message.endsWith("received undefined")) return { code: "REQUIRED", message: "is required" };
      return { code: "INVALID_FORMAT", message: `must be ${typeName(issue.expected)}` };
    case "invalid_union": {
      const expected = (issue.errors ?? []).flatMap((option) => option.filter(isWrongType).map((inner) => typeName(inner.expected)));
      return { code: "INVALID_FORMAT", message: `must be ${[...new Set(expected)].join(" or ")}` };
    }
    case "invalid_key":
    case "invalid_element":
      return issue.issues?.[0] ? describe(issue.issues[0]) : { code: "INVALID_FORMAT", message: issue.message };
    case "too_small":
    case "too_big":
      return describeSize(issue);
    case "invalid_value":
      return { code: "INVALID_ENUM", message: `must be one of ${(issue.values ?? []).map(String).join(", ")}` };
    case "invalid_format":
      return { code: "INVALID_FORMAT", message: issue.message.startsWith("Invalid ") ? formatOf(issue) : issue.message };
    case "custom":
      return { code: String(issue.params?.code ?? "INVALID_FORMAT"), message: issue.message };
    default:
      return { code: "INVALID_FORMAT", message: issue.message };
  }
}

function describeSize({ code, origin, minimum, maximum, inclusive }: SchemaIssue): Omit<FieldProblem, "path"> {
  const isSmall = code === "too_small";
  const limit = isSmall ? minimum : maximum;
  const bound = isSmall ? "at least" : "at most";
  if (origin === "string") {
    if (isSmall) return { code: "REQUIRED", message: limit === 1 ? "must not be empty" : `must have ${bound} ${limit} characters` };
    return { code: "TOO_LONG", message: `must have ${bound} ${limit} characters` };
  }
  if (origin === "array") return { code: "OUT_OF_RANGE", message: `must have ${bound} ${limit} ${limit === 1 ? "entry" : "entries"}` };
  const exclusive = isSmall ? "more than" : "less than";
  return { code: "OUT_OF_RANGE", message: `must be ${inclusive === false ? exclusive : bound} ${limit}` };
}

function typeName(type: unknown): string {
  return types[String(type)] ?? `of the type ${String(type)}`;
}

function formatOf({ format, message }: SchemaIssue): string {
  return formats[String(format)] ?? message.replace(/^Invalid \w+: /, "").replace(/^Invalid /, "is no ");
}
