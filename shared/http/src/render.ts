import type { ServerResponse } from "node:http";
import { Problem } from "@cell/problem";
import { bearerChallenge } from "./challenge.ts";

/** The JSON text of a failure: `{code, message, requestId, details?}`. */
export function problemBody(problem: Problem, requestId: string): string {
  return JSON.stringify({ code: problem.code, message: problem.message, requestId, details: problem.details });
}

function problemHeaders(problem: Problem): Record<string, string> {
  const headers: Record<string, string> = { "content-type": "application/json; charset=utf-8", ...problem.headers };
  if (problem.status === 401) headers["www-authenticate"] ??= bearerChallenge();
  return headers;
}

/** A failure as a response; the caller has set `X-Request-ID` already. */
export function problemResponse(problem: Problem, requestId: string): Response {
  return new Response(problemBody(problem, requestId), { status: problem.status, headers: problemHeaders(problem) });
}

/** A failure as the whole answer on Node's own response, for whoever answers without Hono. Nothing may have been sent before. */
export function sendProblem(outgoing: ServerResponse, problem: Problem, requestId: string): void {
  const body = problemBody(problem, requestId);
  outgoing.writeHead(problem.status, {
    ...problemHeaders(problem),
    ...securityHeaders,
    "x-request-id": requestId,
    "content-length": Buffer.byteLength(body),
  });
  outgoing.end(body);
}

/** What every answer of ours carries: it is what it says it is, and no cache keeps it. */
export const securityHeaders = { "x-content-type-options": "nosniff", "cache-control": "no-store" } as const;

/** What a thrown value becomes: an expected failure stays, anything else is an INTERNAL that says nothing of the inside. */
export function toProblem(error: unknown): Problem {
  if (error instanceof Problem) return error;
  const status = (error as { status?: unknown } | null)?.status;
  if (status === 413) return new Problem("PAYLOAD_TOO_LARGE", "The body is too large", { cause: error });
  return new Problem("INTERNAL", "Something went wrong on our side; the requestId finds it in our log", { cause: error });
}

/** 405 that names what is allowed, or the 404 of an unknown path when nothing is. */
export function methodNotAllowed(allowed: readonly string[]): Problem {
  if (allowed.length === 0) return new Problem("NOT_FOUND", "There is nothing at this path; /docs lists what there is");
  return new Problem("METHOD_NOT_ALLOWED", `This path takes ${allowed.join(", ")}`, { headers: { allow: allowed.join(", ") } });
}
