import type { Document } from "@cell/http/openapi/document";
import { expect, test } from "vitest";
import { breakingChanges, isMajorStep } from "./breaking-changes.ts";

const document = (): Document => ({
  openapi: "3.1.0",
  info: { title: "Things", version: "1.2.0" },
  paths: {
    "/things": {
      get: {
        parameters: [{ name: "page", in: "query", schema: { type: "integer", maximum: 200 } }],
        responses: {
          "200": { description: "", content: { "application/json": { schema: { $ref: "#/components/schemas/Thing" } } } },
          "404": { description: "" },
        },
      },
      post: {
        requestBody: {
          required: true,
          content: {
            "application/json": {
              schema: {
                type: "object",
                additionalProperties: false,
                properties: { name: { type: "string", maxLength: 255 }, level: { type: ["string", "null"], enum: ["A", "B"] } },
                required: ["name"],
              },
            },
          },
        },
        responses: { "201": { description: "" } },
      },
    },
  },
  components: {
    schemas: { Thing: { type: "object", properties: { id: { type: "string" }, count: { type: "integer" } }, required: ["id"] } },
  },
});

// biome-ignore lint/suspicious/noExplicitAny: the changes reach deep into a document of any shape.
type Loose = any;

test.each<[string, (after: Loose) => void, string]>([
  ["a path that is gone", (after) => delete after.paths["/things"].get, "GET /things is gone"],
  ["an answer's field that is gone", (after) => delete after.components.schemas.Thing.properties.count, "GET /things 200.count is gone"],
  [
    "an answer's field that may be missing",
    (after) => (after.components.schemas.Thing.required = []),
    "GET /things 200.id may be missing now",
  ],
  [
    "an answer's field of another type",
    (after) => (after.components.schemas.Thing.properties.count.type = "string"),
    "GET /things 200.count: may be string now",
  ],
  ["a parameter that is gone", (after) => (after.paths["/things"].get.parameters = []), "GET /things: the parameter query page is gone"],
  [
    "a limit that is narrower",
    (after) => (after.paths["/things"].get.parameters[0].schema.maximum = 100),
    "GET /things query page: maximum is narrower: 200 before, 100 now",
  ],
  [
    "a parameter that is required",
    (after) => after.paths["/things"].get.parameters.push({ name: "x", in: "query", required: true }),
    "GET /things: the parameter query x is required now",
  ],
  [
    "a field that is required",
    (after) => after.paths["/things"].post.requestBody.content["application/json"].schema.required.push("level"),
    "POST /things body.level is required now",
  ],
  [
    "a field that is not taken",
    (after) => delete after.paths["/things"].post.requestBody.content["application/json"].schema.properties.level,
    "POST /things body.level is not taken any more",
  ],
  [
    "a value that is not taken",
    (after) => after.paths["/things"].post.requestBody.content["application/json"].schema.properties.level.enum.pop(),
    'POST /things body.level: the value "B" is not taken any more',
  ],
  [
    "null that is not taken",
    (after) => (after.paths["/things"].post.requestBody.content["application/json"].schema.properties.level.type = "string"),
    "POST /things body.level: does not take null any more",
  ],
  [
    "a status that is gone",
    (after) => (after.paths["/things"].post.responses = { "200": {} }),
    "POST /things: does not answer 201 any more",
  ],
])("%s is a breaking change", (_, change, sentence) => {
  const after = document();
  change(after);
  expect(breakingChanges(document(), after)).toEqual([sentence]);
});

test("what is added, loosened or only described otherwise breaks nobody", () => {
  const after: Loose = document();
  after.paths["/others"] = {};
  after.components.schemas.Thing.properties.more = { type: "string" };
  after.paths["/things"].get.parameters.push({ name: "y", in: "query" });
  after.paths["/things"].get.parameters[0].schema.maximum = 500;
  after.paths["/things"].post.requestBody.content["application/json"].schema.properties.level.enum.push("C");
  expect(breakingChanges(document(), after)).toEqual([]);
});

test("parameters and answers are compared behind references, and header names in any case", () => {
  const before: Loose = document();
  before.paths["/things"].get.parameters.push({ name: "x-tenant-id", in: "header", schema: { type: "string", maxLength: 40 } });
  const after: Loose = document();
  after.paths["/things"].get.parameters.push({ $ref: "#/components/parameters/TenantId" });
  after.components.parameters = { TenantId: { name: "X-Tenant-Id", in: "header", schema: { type: "string", maxLength: 40 } } };
  after.components.responses = { Things: after.paths["/things"].get.responses["200"] };
  after.paths["/things"].get.responses["200"] = { $ref: "#/components/responses/Things" };
  expect(breakingChanges(before, after)).toEqual([]);
  after.components.parameters.TenantId.schema.maxLength = 20;
  after.components.schemas.Thing.required = [];
  expect(breakingChanges(before, after)).toEqual([
    "GET /things header x-tenant-id: maxLength is narrower: 40 before, 20 now",
    "GET /things 200.id may be missing now",
  ]);
});

test("a step of the version's first number allows it", () => {
  expect(isMajorStep(document(), { ...document(), info: { title: "Things", version: "2.0.0" } })).toBe(true);
  expect(isMajorStep(document(), { ...document(), info: { title: "Things", version: "1.3.0" } })).toBe(false);
});
