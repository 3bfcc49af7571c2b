/** Every failure that a caller may be told about: its code and the HTTP status that goes with it (`crm.md`, section 2). */
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

/** One bad field of a request: where it is, what kind of fault, and a sentence that says what would be right. */
export interface FieldProblem {
  path: string;
  code: string;
  message: string;
}

export interface ProblemOptions {
  /** Instead of the code's own, between our processes alone. */
  status?: number;
  /** Machine-readable help, published as `details`. */
  details?: Record<string, unknown>;
  /** Response headers that the failure calls for, such as `Retry-After`. */
  headers?: Record<string, string>;
  /** The fault behind it, for the log alone. */
  cause?: unknown;
}

/** An expected failure. Thrown anywhere, rendered once, at the edge. */
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

/** 400 that lists every bad field. */
export function badFields(fields: FieldProblem[]): Problem {
  const [first] = fields;
  const more = fields.length > 1 ? ` (and ${fields.length - 1} more)` : "";
  return new Problem("BAD_REQUEST", first ? `${first.path}: ${first.message}${more}` : "The request is not valid", {
    details: { fields },
  });
}

/** 400 for one field. */
export function badField(path: string, code: string, message: string): Problem {
  return badFields([{ path, code, message }]);
}

/** 404: for what does not exist and for what the caller may not see alike. */
export function notFound(what: string, details?: Record<string, unknown>): Problem {
  return new Problem("NOT_FOUND", `${what} not found`, details ? { details } : {});
}

/** 503 with `Retry-After`: the fault is passing. */
export function unavailable(message: string, retryAfterSeconds = 1, cause?: unknown): Problem {
  return new Problem("UNAVAILABLE", message, { headers: { "retry-after": String(retryAfterSeconds) }, cause });
}
