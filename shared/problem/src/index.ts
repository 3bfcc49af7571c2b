/** Every error code that the API documents, with its HTTP status. */
export const statusOf = {
  BAD_REQUEST: 400,
  UNAUTHORIZED: 401,
  FORBIDDEN: 403,
  TENANT_MISMATCH: 403,
  FIELD_MASKED: 403,
  NOT_FOUND: 404,
  METHOD_NOT_ALLOWED: 405,
  IDEMPOTENT_CONFLICT: 409,
  DUPLICATE_NAME: 409,
  CONFLICT: 409,
  VERSION_CONFLICT: 412,
  PAYLOAD_TOO_LARGE: 413,
  UNSUPPORTED_MEDIA_TYPE: 415,
  RATE_LIMITED: 429,
  INTERNAL: 500,
  UNAVAILABLE: 503,
  TIMEOUT: 504,
} as const;

export type ProblemCode = keyof typeof statusOf;

/** One invalid field of a request: its path, a code, and a sentence that says what would be right. */
export interface FieldProblem {
  path: string;
  code: string;
  message: string;
}

export interface ProblemOptions {
  /** Overrides the status of the code; only used between our own processes. */
  status?: number;
  /** Machine-readable details, published as `details`. */
  details?: Record<string, unknown>;
  /** Response headers that the error needs, such as `Retry-After`. */
  headers?: Record<string, string>;
  /** The underlying error; it is logged and never sent. */
  cause?: unknown;
}

/** An expected error. Any layer may throw it; the HTTP edge renders it once. */
export class Problem extends Error {
  readonly code: ProblemCode;
  readonly status: number;
  readonly details: Record<string, unknown> | undefined;
  readonly headers: Record<string, string> | undefined;

  constructor(code: ProblemCode, message: string, options: ProblemOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = "Problem";
    this.code = code;
    this.status = options.status ?? statusOf[code];
    this.details = options.details;
    this.headers = options.headers;
  }
}

/** Number of invalid fields that a response lists, and characters of each path. */
const mostFields = 100;
const mostPathCharacters = 300;

/** 400 that lists the invalid fields: 100 at most, with their paths shortened. */
export function badFields(given: readonly FieldProblem[]): Problem {
  const fields = given.slice(0, mostFields).map((field) => ({ ...field, path: shortened(field.path) }));
  const [first] = fields;
  if (!first) return new Problem("BAD_REQUEST", "The request is not valid", { details: { fields } });
  const more = given.length > 1 ? ` (and ${given.length - 1} more)` : "";
  const message = first.path === "" ? `The body ${first.message}` : `${first.path}: ${first.message}`;
  return new Problem("BAD_REQUEST", `${message}${more}`, { details: { fields } });
}

function shortened(path: string): string {
  return path.length > mostPathCharacters ? `${path.slice(0, mostPathCharacters).toWellFormed()}…` : path;
}

/** 400 for one field. */
export function badField(path: string, code: string, message: string): Problem {
  return badFields([{ path, code, message }]);
}

/** 404, the same for a record that does not exist and for one that the caller may not see. */
export function notFound(what: string, details?: Record<string, unknown>): Problem {
  return new Problem("NOT_FOUND", `${what} not found`, details ? { details } : {});
}

/** 503 with `Retry-After`: the fault is transient. */
export function unavailable(message: string, retryAfterSeconds = 1, cause?: unknown): Problem {
  return new Problem("UNAVAILABLE", message, { headers: { "retry-after": String(retryAfterSeconds) }, cause });
}
