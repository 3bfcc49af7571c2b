import type { ServerResponse } from "node:http";
import { Problem } from "@cell/problem";
import { bearerChallenge } from "./challenge.ts";
import type { ErrorForm } from "./declaration.ts";

/** Fields that each error form adds to those of every error. */
const formFields: Readonly<Record<ErrorForm, (message: string) => object>> = {
  problem: () => ({}),
  detail: (message) => ({ detail: message }),
  success: () => ({ success: false }),
  error: (message) => ({ success: false, error: message }),
};

/** The JSON text of an error: `{code, message, requestId, details?}` and the fields of its form. */
export function problemBody({ code, message, details }: Problem, requestId: string, form: ErrorForm = "problem"): string {
  return JSON.stringify({ ...formFields[form](message), code, message, requestId, details });
}

function problemHeaders(problem: Problem): Record<string, string> {
  const headers: Record<string, string> = { "content-type": "application/json; charset=utf-8", ...problem.headers };
  if (problem.status === 401) headers["www-authenticate"] ??= bearerChallenge();
  return headers;
}

/** An error as a response; the caller has already set `X-Request-ID`. */
export function problemResponse(problem: Problem, requestId: string): Response {
  return new Response(problemBody(problem, requestId), { status: problem.status, headers: problemHeaders(problem) });
}

/** Sends an error as the whole response by Node's own response object, outside Hono. Nothing may have been sent before. */
export function sendProblem(outgoing: ServerResponse, problem: Problem, requestId: string, form?: ErrorForm): void {
  const body = problemBody(problem, requestId, form);
  outgoing.writeHead(problem.status, {
    ...problemHeaders(problem),
    ...securityHeaders,
    "x-request-id": requestId,
    "content-length": Buffer.byteLength(body),
  });
  outgoing.end(body);
}

/** Headers of every response of ours: no content sniffing, no caching. */
export const securityHeaders = { "x-content-type-options": "nosniff", "cache-control": "no-store" } as const;

/** Turns a thrown value into a Problem: a Problem stays, anything else becomes INTERNAL without its details. */
export function toProblem(error: unknown): Problem {
  if (error instanceof Problem) return error;
  const status = (error as { status?: unknown } | null)?.status;
  if (status === 413) return new Problem("PAYLOAD_TOO_LARGE", "The body is too large", { cause: error });
  return new Problem("INTERNAL", "Something went wrong on our side; the requestId finds it in our log", { cause: error });
}

/** 405 with the allowed methods; 404 if there are none. */
export function methodNotAllowed(allowed: readonly string[]): Problem {
  if (allowed.length === 0) return new Problem("NOT_FOUND", "Nothing is at this path; /docs lists the paths");
  return new Problem("METHOD_NOT_ALLOWED", `This path takes ${allowed.join(", ")}`, { headers: { allow: allowed.join(", ") } });
}
