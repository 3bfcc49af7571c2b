import { createLogger, requestIdPattern } from "@cell/http";
import { responseChecker } from "@cell/http/testing/response-checker";
import { expect } from "vitest";
import { createApp } from "../admin/app.ts";
import { readConfig } from "../config.ts";
import { createServices } from "../services.ts";
import { assertionKeys } from "./cell.ts";

const config = readConfig({ DATABASE_URL: "postgres://none", ASSERTION_KEYS: assertionKeys, CELLS: "crm=http://127.0.0.1:1" });
/** The document against which every response is checked. */
export const document = await createApp(await createServices(config, createLogger("test", "silent"))).document();
const check = responseChecker(document);

/** Checks a response against the published document, and an error against the common error form. */
export function expectConformance(method: string, { status, headers, url }: Response, body: unknown): void {
  const requestId = headers.get("x-request-id");
  expect(requestId).toMatch(requestIdPattern);
  if (status >= 400) expect(body).toMatchObject({ code: expect.any(String), message: expect.any(String), requestId });
  check(method, new URL(url).pathname, { status, headers, body });
}
