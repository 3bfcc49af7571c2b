import { randomUUID } from "node:crypto";
import {
  type Document,
  operationsOf as documentedOperations,
  type MediaType,
  type Parameter,
  type Response,
  resolved,
  type Schema,
} from "@cell/http/openapi/document";
import { documentFaults } from "@cell/http/testing/document-faults";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { TestCell, TestClient } from "./test-cell.ts";

interface Operation {
  method: string;
  path: string;
  permission: string;
  /** The content of the request's body by media type. */
  content: Record<string, MediaType>;
  /** The parameters of its query. */
  query: Parameter[];
  hasParams: boolean;
  success: Record<string, MediaType>;
}

/** The routes of a document that a tenant's caller can use. */
export function operationsOf(document: Document): Operation[] {
  return [...documentedOperations(document)].flatMap(({ method, path, operation }) => {
    const permission = operation["x-permission"];
    if (!permission) return [];
    const success = Object.entries(operation.responses).find(([status]) => status.startsWith("2"))?.[1];
    return [
      {
        method: method.toUpperCase(),
        path,
        permission,
        content: operation.requestBody?.content ?? {},
        query: (operation.parameters ?? []).map((given) => resolved<Parameter>(document, given)).filter((given) => given.in === "query"),
        hasParams: path.includes("{"),
        success: (success && resolved<Response>(document, success).content) ?? {},
      },
    ];
  });
}

/** Ids of existing records, by the fields that refer to them. */
export type References = Readonly<Record<string, string>>;

/**
 * A valid body of a schema, made of its examples: the required fields, and with `references` all that have an example. Names are made
 * unique.
 */
export function sampleOf(document: Document, given: Schema, references?: References): unknown {
  const schema = resolved<Schema>(document, given);
  if (schema.properties) {
    const { properties, required = [] } = schema;
    const names = Object.keys(properties).filter(
      (name) => required.includes(name) || (references && (properties[name]?.examples || references[name])),
    );
    return Object.fromEntries(
      names.map((name) => [
        name,
        references?.[name] ??
          (name === "name" || name === "number" ? `Sample ${randomUUID()}` : sampleOf(document, properties[name] ?? {}, references)),
      ]),
    );
  }
  if (schema.examples) return schema.examples[0];
  if (schema.enum) return schema.enum[0];
  if (schema.anyOf) return sampleOf(document, schema.anyOf[0] ?? {}, references);
  const type = Array.isArray(schema.type) ? schema.type[0] : schema.type;
  if (type === "array") return [sampleOf(document, schema.items ?? {}, references)];
  if (type === "string") return schema.format === "uuid" ? randomUUID() : "sample";
  if (type === "boolean") return true;
  if (type === "integer" || type === "number") return 1;
  return {};
}

/** A published example with new names and numbers, so that it can be sent again, and with references to existing records. */
function asOwn(example: unknown, references: References): object {
  const fields = Object.entries(example as object).map(([name, value]) => {
    return [name, references[name] ?? (name === "name" || name === "number" ? `Sample ${randomUUID()}` : value)];
  });
  return Object.fromEntries(fields);
}

/** Reads all routes from the cell's own document and tests the guarantees that every route gives. */
export function describeConformance(
  document: Document,
  start: () => Promise<TestCell>,
  prepare: (client: TestClient) => Promise<References>,
): void {
  const operations = operationsOf(document);
  let cell: TestCell;
  let tenantId: string;
  let admin: TestClient;

  beforeAll(async () => {
    cell = await start();
    tenantId = await cell.tenant();
    admin = cell.client(tenantId);
  });
  afterAll(() => cell.stop());

  const pathOf = (operation: Operation) => operation.path.replace(/\{\w+\}/g, randomUUID());
  const requestOf = (operation: Operation) => {
    const json = operation.content["application/json"];
    if (json) return { body: sampleOf(document, json.schema ?? {}) };
    const [type] = Object.keys(operation.content);
    return type ? { raw: "", headers: { "content-type": type } } : {};
  };

  test("the document has routes, each with its permission", () => {
    expect(operations.length).toBeGreaterThan(5);
  });

  test("the document has ids, tags, descriptions, headers, limits and valid examples for all operations", () => {
    expect(documentFaults(document)).toEqual([]);
  });

  describe.each(operations.map((operation) => [`${operation.method} ${operation.path}`, operation] as const))("%s", (_, operation) => {
    test("the route rejects requests that bypass the gateway", async () => {
      const response = await fetch(cell.url + pathOf(operation), { method: operation.method, headers: { "x-tenant-id": tenantId } });
      expect(response.status).toBe(401);
      expect(Object.keys((await response.json()) as object)).toEqual(["code", "message", "requestId"]);
    });

    test("the route rejects callers without the permission, and callers that name another tenant", async () => {
      const permissions = admin.principal.permissions.filter((permission) => permission !== operation.permission);
      const lacking = await cell.client(tenantId, { permissions }).send(operation.method, pathOf(operation), requestOf(operation));
      expect([lacking.status, lacking.body.code]).toEqual([403, "FORBIDDEN"]);
      const foreign = await admin.send(operation.method, pathOf(operation), { headers: { "x-tenant-id": "another" } });
      expect([foreign.status, foreign.body.code]).toEqual([403, "TENANT_MISMATCH"]);
    });

    test("the route rejects an unknown query parameter, and one given twice", async () => {
      for (const query of ["?nonsense=1", "?page=1&page=2"]) {
        const response = await admin.send(operation.method, pathOf(operation) + query, requestOf(operation));
        expect([response.status, response.body.code], response.text).toEqual([400, "BAD_REQUEST"]);
      }
    });

    test("the route rejects numbers and booleans of the query in undocumented forms", async () => {
      for (const { name, schema = {} } of operation.query) {
        const wrong = { integer: ["1e3", "01", "1.0", "+1", "0x1", ""], boolean: ["1", "yes", "TRUE", ""] }[String(schema.type)] ?? [];
        for (const value of wrong) {
          const response = await admin.send(
            operation.method,
            `${pathOf(operation)}?${name}=${encodeURIComponent(value)}`,
            requestOf(operation),
          );
          expect([response.status, response.body.details?.fields?.[0]?.path], `${name}=${value}`).toEqual([400, name]);
        }
      }
    });

    test("the route echoes the caller's request id in the header and in the error", async () => {
      const response = await admin.send(operation.method, `${pathOf(operation)}?nonsense=1`, { ...requestOf(operation), key: "my-id" });
      expect([response.headers.get("x-request-id"), response.body.requestId]).toEqual(["my-id", "my-id"]);
    });

    test("the route allows a trailing slash, and responds with 405 and Allow to other methods", async () => {
      const slashed = await admin.send(operation.method, `${pathOf(operation)}/?nonsense=1`, requestOf(operation));
      expect(slashed.status).toBe(400);
      const response = await admin.send("PUT", pathOf(operation));
      expect([response.status, response.body.code]).toEqual([405, "METHOD_NOT_ALLOWED"]);
      expect(response.headers.get("allow")).toContain(operation.method);
    });

    if (operation.hasParams) {
      test("the route responds with 404 for an unknown record, and for an invalid id", async () => {
        for (const path of [pathOf(operation), operation.path.replace(/\{\w+\}/g, "none")]) {
          const response = await admin.send(operation.method, path, requestOf(operation));
          expect([response.status, response.body.code], response.text).toEqual([404, "NOT_FOUND"]);
        }
      });
    }

    if (operation.content["application/json"]) {
      test("the route rejects a body that is malformed, too deep, too large, of another type or in another encoding", async () => {
        const path = pathOf(operation);
        const json = { "content-type": "application/json" };
        expect((await admin.send(operation.method, path, { raw: '{"name":', headers: json })).status).toBe(400);
        expect((await admin.send(operation.method, path, { raw: "[".repeat(1000) + "]".repeat(1000), headers: json })).status).toBe(400);
        expect(
          (await admin.send(operation.method, path, { raw: new Uint8Array([0x7b, 0x22, 0xff, 0xfe, 0x22, 0x7d]), headers: json })).status,
        ).toBe(400);
        expect((await admin.send(operation.method, path, { raw: "<a/>", headers: { "content-type": "application/xml" } })).status).toBe(
          415,
        );
        expect((await admin.send(operation.method, path, { raw: "{}", headers: { ...json, "content-encoding": "gzip" } })).status).toBe(
          415,
        );
        const unknown = await admin.send(operation.method, path, {
          body: { ...(sampleOf(document, operation.content["application/json"]?.schema ?? {}) as object), nonsense: 1 },
        });
        expect([unknown.status, unknown.body.details.fields[0]]).toMatchObject([400, { path: "nonsense", code: "UNKNOWN_FIELD" }]);
      });
    }

    if (operation.method === "POST" && !operation.hasParams && operation.content["application/json"]) {
      test("the route accepts its published example, and replays its response for the same key", async () => {
        const body = asOwn(operation.content["application/json"]?.example, await prepare(admin));
        const [first, again] = [
          await admin.post(operation.path, { body, key: `example ${operation.path}`.replace(/[^a-z]/g, "-") }),
          await admin.post(operation.path, { body, key: `example ${operation.path}`.replace(/[^a-z]/g, "-") }),
        ];
        expect(first.status, `${JSON.stringify(body)} ${first.text}`).toBeLessThan(300);
        expect([again.text, again.headers.get("idempotency-replayed")]).toEqual([first.text, "true"]);
      });
    }

    test("declares the mask of each sensitive field that it answers", () => {
      for (const { schema } of Object.values(operation.success)) {
        for (const object of objectsIn(document, schema ?? {})) {
          const isSensitive = Object.values(object.properties ?? {}).some((field) => field["x-sensitive"]);
          if (isSensitive) expect(object.required).toContain("_masked");
        }
      }
    });
  });
}

/** Every object schema within a schema. */
function objectsIn(document: Document, given: Schema): Schema[] {
  const schema = resolved<Schema>(document, given);
  const inner = [...Object.values(schema.properties ?? {}), ...(schema.items ? [schema.items] : []), ...(schema.anyOf ?? [])];
  return [...(schema.properties ? [schema] : []), ...inner.flatMap((part) => objectsIn(document, part))];
}
