import { expect, test } from "vitest";
import { completeDocument } from "../openapi/complete.ts";
import { errorResponseRefs, headerRefs, parameterRef } from "../openapi/components.ts";
import type { Document } from "../openapi/document.ts";
import { documentFaults } from "./document-faults.ts";

const tags = [{ name: "Things", description: "What this test is about." }];
const thing = {
  type: "object",
  properties: { name: { type: "string", maxLength: 10, examples: ["A thing"] }, madeAt: { type: "string", format: "date-time" } },
  required: ["name", "madeAt"],
};

function raw() {
  return {
    openapi: "3.1.0",
    info: { title: "Things", version: "1.0.0" },
    paths: {
      "/things": {
        post: {
          tags: ["Things"],
          security: [{ bearer: [] }],
          summary: "Make a thing",
          parameters: [
            parameterRef("RequestId"),
            { name: "dryRun", in: "query", description: "Makes nothing", schema: { type: "boolean", examples: [true] } },
          ],
          requestBody: { content: { "application/json": { schema: thing } } },
          responses: {
            "201": { description: "Done", headers: headerRefs("X-Request-ID"), content: { "application/json": { schema: thing } } },
            ...errorResponseRefs([400, 429]),
          },
        },
      },
    },
  };
}

test("a completed document has no faults, and its examples are composed of those of its fields", () => {
  const document = completeDocument(raw(), { tags });
  expect(documentFaults(document)).toEqual([]);
  const { operationId, responses, parameters } = document.paths["/things"]?.post ?? {};
  expect([operationId, Object.keys(document.components?.headers ?? {})]).toEqual([
    "things.create",
    ["X-Request-ID", "RateLimit-Policy", "RateLimit", "Retry-After"],
  ]);
  expect(responses?.["201"]).toMatchObject({
    content: { "application/json": { example: { name: "A thing", madeAt: "2026-01-31T08:00:00.000Z" } } },
  });
  expect(parameters?.[1]).toEqual({
    name: "dryRun",
    in: "query",
    description: "Makes nothing. Example: `true`",
    schema: { type: "boolean" },
  });
});

// biome-ignore lint/suspicious/noExplicitAny: the changes reach deep into documents of any shape.
type Loose = any;

test.each<[string, (operation: Loose, document: Document) => void, RegExp]>([
  ["an id", (operation) => delete operation.operationId, /POST \/things has no operationId/],
  ["a described tag", (_, document) => (document.tags = []), /has the tag "Things", which the document does not describe/],
  ["a summary", (operation) => delete operation.summary, /has no summary/],
  ["an example", (operation) => delete operation.requestBody.content["application/json"].example, /the request has no example/],
  [
    "an example that fits",
    (operation) => (operation.responses["201"].content["application/json"].example.madeAt = "yesterday"),
    /the response 201 as application\/json has an example that does not fit its schema, data\/madeAt must match format "date-time"/,
  ],
  [
    "a limit of a text",
    (operation) => delete operation.requestBody.content["application/json"].schema.properties.name.maxLength,
    /takes a text without a limit at body\.name/,
  ],
  [
    "a format of a time",
    (operation) => (operation.requestBody.content["application/json"].schema.properties.madeAt = { type: "string", maxLength: 40 }),
    /takes a time or a date without a format at body\.madeAt/,
  ],
  [
    "a parameter's description",
    (operation) => delete operation.parameters[1].description,
    /has a query parameter dryRun without a description/,
  ],
  [
    "no example that tools would send",
    (operation) => (operation.parameters[1].example = true),
    /has an example for the optional query parameter dryRun/,
  ],
  [
    "the request id of a response",
    (operation) => delete operation.responses["201"].headers,
    /does not declare the header X-Request-ID of 201/,
  ],
  ["the common error responses", (operation) => (operation.responses["400"] = { description: "Refused" }), /describes 400 by itself/],
])("a document without %s is faulty, and the fault says what to do", (_, change, fault) => {
  const document = JSON.parse(JSON.stringify(completeDocument(raw(), { tags }))) as Document;
  change(document.paths["/things"]?.post, document);
  expect(documentFaults(document)).toEqual([expect.stringMatching(fault)]);
});

test("a route with an undescribed tag fails the document", () => {
  const document = raw();
  document.paths["/things"].post.tags = ["Others"];
  expect(() => completeDocument(document, { tags })).toThrow('POST /things has the tag "Others", which the document does not describe');
});
