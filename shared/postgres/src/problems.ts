import { Problem, unavailable } from "@cell/problem";

interface DatabaseError {
  code?: string;
  message?: string;
  constraint?: string;
}

/** The SQLSTATE raised by `public.expect_row`: a change matched no row. */
export const expectationState = "CE001";

/** The unique constraint or foreign key that an error names, or undefined. Compare by prefix: Citus appends a shard's number. */
export function violatedConstraint(error: unknown): string | undefined {
  const { code, constraint } = error as DatabaseError;
  return code === "23505" || code === "23503" ? constraint : undefined;
}

/** The label of the failed expectation, or undefined for any other error. */
export function failedExpectation(error: unknown): string | undefined {
  const { code, message } = error as DatabaseError;
  return code === expectationState ? message : undefined;
}

/** A deadlock or a serialization failure: the whole transaction may be retried. */
export function isRetryable(error: unknown): boolean {
  const { code } = error as DatabaseError;
  return code === "40001" || code === "40P01";
}

/** The login lacks a right, or an expected object is missing: a fault of ours, or the tenant is being moved or dropped. */
export function isDenied(error: unknown): boolean {
  return /^(42501|42P01|42704|3F000|28000|28P01)$/.test((error as DatabaseError | null)?.code ?? "");
}

/** The connection is lost or unusable; its last statement may or may not have been executed. */
export function isConnectionLoss(error: unknown): boolean {
  const { code, message } = (error ?? {}) as DatabaseError;
  if (code === undefined)
    return /^(Connection terminated|Client (has encountered|was closed)|Query read timeout|timeout)/.test(message ?? "");
  return /^(08|57P0|25P0[34]|40003|53300|E(CONN|PIPE|TIMEDOUT|HOST|NET|NOENT|AI_AGAIN))/.test(code);
}

/** The driver's message for a query timeout. */
export const timeoutMessage = "Query read timeout";

/** No response arrived in time: the connection may be dead without either side knowing. */
export function isTimeout(error: unknown): boolean {
  const { code, message } = (error ?? {}) as DatabaseError;
  return code === undefined && message === timeoutMessage;
}

/** 504: the query takes longer than allowed. */
export function tooLong(cause?: unknown): Problem {
  return new Problem("TIMEOUT", "The query took too long; narrow it down", { cause });
}

/** Maps a database error to the caller's error; errors that are ours stay as they are. */
export function databaseProblem(error: unknown): unknown {
  if (error instanceof Problem || !(error instanceof Error)) return error;
  if (isConnectionLoss(error)) return unavailable("The database is not reachable for a moment; try again", 1, error);
  const { code } = error as DatabaseError;
  switch (code) {
    case "40001":
    case "40P01":
    case "55P03":
      return unavailable("Too many writes to the same record at once; try again", 1, error);
    // The statement was to be prepared just before, and was not.
    case "26000":
      return unavailable("The database is busy; try again", 1, error);
    case "57014":
      return tooLong(error);
    // The disk or the memory is full; files cannot be read or written; the server has become a standby.
    case "53000":
    case "53100":
    case "53200":
    case "58000":
    case "58030":
    case "25006":
      return unavailable("The database cannot take writes now; try again later", 5, error);
    case "22021":
    case "22P05":
      return new Problem("BAD_REQUEST", "The request holds characters that cannot be stored", { cause: error });
    default:
      return error;
  }
}
