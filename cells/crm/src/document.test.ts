import { type Parameter, resolved, type Schema } from "@cell/http/openapi/document";
import { expect, test } from "vitest";
import { crmDocument } from "./openapi.ts";

const document = await crmDocument();

const parameter = (path: string, name: string): Parameter | undefined =>
  (document.paths[path]?.get?.parameters ?? []).map((given) => resolved<Parameter>(document, given)).find((given) => given.name === name);

test("the document opens with what a day begins with, and its paths follow the order of its tags", () => {
  const tags = document.tags?.map(({ name }) => name) ?? [];
  expect(tags.slice(0, 6)).toEqual(["Customers", "Contacts", "Opportunities", "Pipelines", "Contracts", "Payments"]);
  const places = Object.values(document.paths).map((methods) => tags.indexOf(Object.values(methods)[0]?.tags?.[0] ?? ""));
  expect(places).toEqual(places.toSorted((left, right) => left - right));
  expect(document.paths["/customers"]?.get?.operationId).toBe("customers.list");
});

test("numbers and truth values of queries are documented as such, with the limits of a page", () => {
  expect(parameter("/customers", "page")?.schema).toMatchObject({ type: "integer", minimum: 1 });
  expect(parameter("/customers", "pageSize")?.schema).toMatchObject({ type: "integer", minimum: 1, maximum: 200 });
  expect(parameter("/customers/export", "bom")?.schema).toEqual({ type: "boolean" });
});

test("a list names the fields that it filters and sorts by, and no parameter that it refuses", () => {
  expect(parameter("/customers", "filter")?.description).toContain("`industry`");
  expect(parameter("/customers", "sort")?.description).toMatch(/`createdAt`.*By default `-createdAt`/s);
  expect(parameter("/customers", "reveal")?.description).toContain("`contactPhone`");
  expect(parameter("/pipelines", "reveal")).toBeUndefined();
  expect(parameter("/opportunities", "status")?.schema?.pattern).toContain("open|won|lost");
});

test("an import takes a form with the file, an amount a text or a number where it is taken, a time or a date where either is", () => {
  const { content = {} } = document.paths["/customers/import"]?.post?.requestBody ?? {};
  expect(content["multipart/form-data"]?.schema).toMatchObject({ type: "object", properties: { file: { format: "binary" } } });
  const schemas = document.components?.schemas ?? {};
  const types = (schema: Schema | undefined) => schema?.anyOf?.map(({ type, format }) => format ?? type);
  expect(types(schemas.ContractInput?.properties?.amount)).toEqual(["string", "number"]);
  expect(schemas.Contract?.properties?.amount).toMatchObject({ type: "string", pattern: expect.any(String) });
  expect(types(schemas.PaymentInput?.properties?.paidAt)).toEqual(["date", "date-time"]);
});
