import { createLogger } from "@cell/http";
import { Ajv2020 } from "ajv/dist/2020.js";
import addFormats from "ajv-formats";
import { expect } from "vitest";
import { createApp } from "../app.ts";
import { readConfig } from "../config.ts";
import { gatewayDocument } from "../docs.ts";
import { createServices } from "../services.ts";
import { assertionKeys } from "./cell.ts";

interface Document {
  paths: Record<string, Record<string, { responses: Record<string, { content?: Record<string, unknown> }> }>>;
}

const config = readConfig({ DATABASE_URL: "postgres://none", ASSERTION_KEYS: assertionKeys, CELLS: "crm=http://127.0.0.1:1" });
/** The document that every answer is held to. */
export const document = gatewayDocument(createApp(await createServices(config, createLogger("test", "silent")))) as Document;
const ajv = new Ajv2020({ strict: false, allErrors: true });
addFormats.default(ajv);
ajv.addSchema(document, "document");

const requestIdPattern = /^[A-Za-z0-9._:~-]{1,128}$/;

/** Holds an answer to the published document, and a failure to the form that all failures have. */
export function expectConformance(method: string, url: string, response: Response, body: unknown): void {
  const requestId = response.headers.get("x-request-id");
  expect(requestId).toMatch(requestIdPattern);
  if (response.status >= 400) expect(body).toMatchObject({ code: expect.any(String), message: expect.any(String), requestId });
  const path = url.replace(/\?.*/, "");
  const declared = Object.entries(document.paths).find(([pattern]) =>
    new RegExp(`^${pattern.replaceAll(/\{[^}]+\}/g, "[^/]+")}$`).test(path),
  );
  const operation = declared?.[1][method.toLowerCase()];
  if (!declared || !operation) return;
  const answer = operation.responses[response.status];
  expect(answer, `${method} ${declared[0]} does not declare ${response.status}`).toBeDefined();
  if (!answer?.content?.["application/json"]) return;
  const pointer = ["paths", declared[0], method.toLowerCase(), "responses", response.status, "content", "application/json", "schema"];
  const fragment = pointer.map((part) => encodeURIComponent(String(part).replaceAll("~", "~0").replaceAll("/", "~1"))).join("/");
  const validate = ajv.compile({ $ref: `document#/${fragment}` });
  expect(validate(body), `${method} ${path}: ${ajv.errorsText(validate.errors)}`).toBe(true);
}
