import fc from "fast-check";
import {
  type Document,
  type MediaType,
  type Operation,
  operationsOf,
  type Parameter,
  type Response,
  resolved,
  type Schema,
} from "../openapi/document.ts";
import { hostileBodies, hostileHeaders, hostileTexts, hostileValues } from "./hostile.ts";

type Content = Record<string, MediaType>;

/** A request to send. */
export interface FuzzRequest {
  method: string;
  /** Includes the query. */
  path: string;
  headers: Record<string, string>;
  body?: string | Uint8Array;
}

/** Ids and cursors of earlier responses, by field name. Requests take their values from here. */
export class Known {
  readonly #values = new Map<string, string[]>();

  /** Collects every id and cursor of a response body. */
  learn(value: unknown): void {
    if (Array.isArray(value)) for (const inner of value) this.learn(inner);
    else if (typeof value === "object" && value !== null) {
      for (const [name, inner] of Object.entries(value)) {
        if (typeof inner === "string" && /(?:^id|Id|[cC]ursor|^stage|^version)$/.test(name)) this.add(name, inner);
        else this.learn(inner);
      }
    }
  }

  add(name: string, value: string): void {
    const key = name.toLowerCase();
    const values = this.#values.get(key) ?? [];
    if (values.includes(value)) return;
    this.#values.set(key, [...values, value].slice(-30));
  }

  /** A value seen under one of these names, chosen by a number. */
  pick(names: readonly string[], choice: number): string | undefined {
    const values = names.flatMap((name) => this.#values.get(name.toLowerCase()) ?? []);
    return values[choice % Math.max(1, values.length)];
  }
}

/**
 * The operations of an OpenAPI document, each with a generator of requests: valid, at the boundary and hostile ones. Deletions come last.
 */
export function fuzzOperations(document: Document, known: Known): { name: string; requests: fc.Arbitrary<() => FuzzRequest> }[] {
  const schemas = document.components?.schemas ?? {};
  const operations = [...operationsOf(document)].map(({ method, path, operation }) => {
    const parameters = (operation.parameters ?? []).map((parameter) => resolved<Parameter>(document, parameter));
    const success = operation.responses["200"] && resolved<Response>(document, operation.responses["200"]);
    const values = new Values(schemas, listedFields(success, schemas));
    return {
      name: `${method.toUpperCase()} ${path}`,
      requests: requestsOf(method.toUpperCase(), path, { ...operation, parameters }, values, known),
    };
  });
  const isLast = ({ name }: { name: string }) => Number(/^DELETE|\/merge$/.test(name));
  return operations.sort((left, right) => isLast(left) - isLast(right));
}

/** The fields of the records in a list response: its filter and its sort order can name them. */
function listedFields(success: Response | undefined, schemas: Record<string, Schema>): string[] {
  const items = success?.content?.["application/json"]?.schema?.properties?.data?.items;
  const properties = (items?.$ref ? schemas[items.$ref.split("/").at(-1) ?? ""] : items)?.properties ?? {};
  return ["name", "createdAt", "customFields", "constructor", ...Object.keys(properties)];
}

/** A value, or a choice among the known values that is made when the request is sent. */
type Value = { value: unknown } | { known: readonly string[]; choice: number; otherwise: string };

const anyText = fc.oneof(
  { weight: 3, arbitrary: fc.constantFrom(...hostileTexts) },
  { weight: 1, arbitrary: fc.string({ unit: "binary", maxLength: 40 }) },
  { weight: 1, arbitrary: fc.string({ unit: "grapheme", maxLength: 40 }) },
);
const anyValue = fc.oneof(
  { weight: 3, arbitrary: anyText },
  { weight: 3, arbitrary: fc.constantFrom(...hostileValues) },
  { weight: 1, arbitrary: fc.double() },
  { weight: 1, arbitrary: fc.jsonValue({ maxDepth: 3 }) },
);
const choice = fc.nat(1_000);
const operators = ["eq", "ne", "in", "gt", "gte", "lt", "lte", "contains", "isNull", "like", ""];

/** Generates values for a document's schemas. */
class Values {
  readonly #schemas: Record<string, Schema>;
  readonly #names: readonly string[];

  constructor(schemas: Record<string, Schema>, names: readonly string[]) {
    this.#schemas = schemas;
    this.#names = names;
  }

  /** Values of a parameter or a field: most of them are valid. */
  of(schema: Schema, name: string): fc.Arbitrary<Value> {
    return fc.oneof({ weight: 9, arbitrary: this.fitting(schema, name) }, { weight: 1, arbitrary: anyValue.map((value) => ({ value })) });
  }

  /** Values that are valid by the schema, boundaries included. */
  fitting(given: Schema, name: string): fc.Arbitrary<Value> {
    const schema = this.#resolve(given);
    const type = Array.isArray(schema.type) ? schema.type[0] : schema.type;
    const plain = (arbitrary: fc.Arbitrary<unknown>) => arbitrary.map((value) => ({ value }));
    const special = type === "array" ? undefined : this.#byName(name);
    if (special) return special;
    if (schema.const !== undefined) return plain(fc.constant(schema.const));
    if (schema.enum) return plain(fc.constantFrom(...schema.enum));
    if (schema.anyOf) return fc.oneof(...schema.anyOf.map((one) => this.fitting(one, name)));
    if (schema.properties) return this.#object(schema.properties, schema.required ?? []);
    if (type === "array") return this.#list(schema, name);
    if (schema.format === "uuid") return this.#reference(name);
    // Examples hold what a schema cannot express, such as the known currencies.
    const examples = schema.examples ? [{ weight: 30, arbitrary: plain(fc.constantFrom(...schema.examples)) }] : [];
    if (type === "boolean") return plain(fc.boolean());
    if (type === "integer" || type === "number") {
      const { minimum = -1e6, maximum = 1e6 } = schema;
      const numbers =
        type === "integer" ? fc.integer({ min: minimum, max: maximum }) : fc.double({ min: minimum, max: maximum, noNaN: true });
      return plain(fc.oneof(numbers, fc.constantFrom(minimum, maximum, minimum - 1, maximum + 1)));
    }
    if (schema.format === "date" || /(?:At|from|to|asOf|Date)$/.test(name)) return fc.oneof(...examples, plain(someDay));
    if (/amount/i.test(name)) return fc.oneof(...examples, plain(fc.constantFrom("1", "0.01", "999999999999999.9999", 12.5, "120000.00")));
    if (type === "string") {
      const { minLength = 0, maxLength = 50 } = schema;
      const boundary = fc.constantFrom(minLength, Math.min(maxLength, 12_000), Math.min(maxLength + 1, 12_001));
      return fc.oneof(
        ...examples,
        {
          weight: 8,
          arbitrary: plain(fc.string({ unit: "grapheme", minLength, maxLength: Math.max(minLength, Math.min(maxLength, 30)) })),
        },
        { weight: 1, arbitrary: plain(boundary.map((length) => "长".repeat(length))) },
      );
    }
    if (schema.additionalProperties)
      return plain(fc.dictionary(fc.string({ maxLength: 8 }), fc.jsonValue({ maxDepth: 2 }), { maxKeys: 4 }));
    return fc.oneof(...examples, plain(fc.jsonValue({ maxDepth: 2 })));
  }

  #resolve(schema: Schema): Schema {
    return schema.$ref ? (this.#schemas[schema.$ref.split("/").at(-1) ?? ""] ?? {}) : schema;
  }

  #byName(name: string): fc.Arbitrary<Value> | undefined {
    const field = fc.constantFrom(...this.#names);
    const joined = (part: fc.Arbitrary<string>, by: string) =>
      fc.array(part, { minLength: 1, maxLength: 3 }).map((parts) => ({ value: parts.join(by) }));
    if (name === "filter") {
      const operand = fc.oneof(
        anyText,
        anyText.map((text) => `"${text.replace(/["\\]/g, "\\$&")}"`),
        someDay,
        fc.integer().map(String),
      );
      return joined(
        fc.tuple(field, fc.constantFrom(...operators), operand).map(([left, operator, right]) => `${left}[${operator}]:${right}`),
        " and ",
      );
    }
    if (name === "sort")
      return joined(
        fc.tuple(fc.constantFrom("", "-"), field).map((parts) => parts.join("")),
        ",",
      );
    if (name === "reveal" || name === "include") return joined(field, ",");
    if (/cursor$/i.test(name)) return this.#reference("nextCursor");
    if (name === "page" || name === "pageSize")
      return fc.constantFrom("1", "2", "200", "201", "0", "-1", "1000000", "999999999").map((value) => ({ value }));
    if (/(?:Id|Ids|^stage|^actorId|^requestId)$/.test(name)) return this.#reference(name.replace(/s$/, ""));
    return undefined;
  }

  #reference(name: string): fc.Arbitrary<Value> {
    const own = choice.map((number) => ({ known: [name], choice: number, otherwise: "0197c3a2-7c1e-7b1a-9d53-0d6b6a1f2c10" }));
    return fc.oneof({ weight: 8, arbitrary: own }, { weight: 1, arbitrary: fc.uuid().map((value) => ({ value })) });
  }

  #list(schema: Schema, name: string): fc.Arbitrary<Value> {
    const whole = (schema.examples ?? []).map((value) => fc.constant<Value>({ value }));
    const items = fc.array(this.of(schema.items ?? {}, name), { maxLength: 4 }).map((values) => ({ value: values }));
    return fc.oneof(...whole, items);
  }

  #object(properties: Record<string, Schema>, required: readonly string[]): fc.Arbitrary<Value> {
    const fields = Object.fromEntries(Object.entries(properties).map(([name, schema]) => [name, this.of(schema, name)]));
    const stored = fc.record(fields, { requiredKeys: required.filter((name) => name in fields) });
    return fc
      .oneof({ weight: 15, arbitrary: stored }, { weight: 1, arbitrary: fc.record(fields, { requiredKeys: [] }) })
      .map((value) => ({ value }));
  }
}

const someDay = fc
  .date({ min: new Date("2020-01-01"), max: new Date("2030-01-01"), noInvalidDate: true })
  .chain((date) => fc.constantFrom(date.toISOString(), date.toISOString().slice(0, 10)));

/** Replaces the chosen placeholders by known values. */
function settle(given: unknown, known: Known): unknown {
  if (Array.isArray(given)) return given.map((inner) => settle(inner, known));
  if (typeof given !== "object" || given === null) return given;
  const value = given as Record<string, unknown>;
  if (Array.isArray(value.known) && typeof value.otherwise === "string")
    return known.pick(value.known, value.choice as number) ?? value.otherwise;
  if (Object.keys(value).length === 1 && "value" in value) return settle(value.value, known);
  return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, settle(inner, known)]));
}

function requestsOf(
  method: string,
  path: string,
  { parameters, requestBody }: Pick<Operation, "requestBody"> & { parameters: Parameter[] },
  values: Values,
  known: Known,
): fc.Arbitrary<() => FuzzRequest> {
  const queryParameters = parameters.filter((parameter) => parameter.in === "query");
  const query = fc.record(Object.fromEntries(queryParameters.map(({ name, schema }) => [name, values.of(schema ?? {}, name)])), {
    requiredKeys: [],
  });
  const few = fc.tuple(query, fc.array(fc.nat(20), { minLength: 1, maxLength: 3 })).map(([all, chosen]) => {
    const entries = Object.entries(all);
    return chosen.flatMap((index) => entries.slice(index % Math.max(1, entries.length)).slice(0, 1));
  });
  const odd = fc.oneof(
    { weight: 30, arbitrary: fc.constant("") },
    { weight: 1, arbitrary: fc.constantFrom("a[]=1", "__proto__=1", "page=1&page=2", "=", "&&", "x=%zz", `page=${"1".repeat(7_000)}`) },
  );
  const id = fc.oneof({ weight: 8, arbitrary: choice }, { weight: 1, arbitrary: anyText });
  const body = bodiesOf(requestBody?.content ?? {}, values);
  const conditions = fc.oneof(
    { weight: 5, arbitrary: fc.constant<Record<string, string>>({}) },
    { weight: 1, arbitrary: fc.constantFrom<Record<string, string>>(...hostileHeaders) },
  );
  return fc.tuple(id, few, odd, body, conditions).map(([given, chosen, oddities, makeBody, extra]) => () => {
    const inPath = (name: string) => {
      const names = [name, `${path.split("/")[1]?.replace(/ies$/, "y").replace(/s$/, "")}Id`];
      const value = typeof given === "number" ? (known.pick(names.slice(1), given) ?? known.pick(names, given) ?? "none") : given;
      return encode(value) || "none";
    };
    const search = chosen.map(([name, value]) => `${name}=${encode(textOf(settle(value, known)))}`);
    const all = [...search, ...(oddities === "" ? [] : [oddities])].join("&");
    const made = makeBody(known);
    const filled = path.replace(/\{(\w+)\}/g, (_, name: string) => inPath(name));
    return {
      method,
      path: all === "" ? filled : `${filled}?${all}`,
      headers: { ...extra, ...made.headers },
      ...(made.body === undefined ? {} : { body: made.body }),
    };
  });
}

function textOf(value: unknown): string {
  return typeof value === "string" ? value : (JSON.stringify(value) ?? "");
}

/** Percent-encodes; a lone surrogate, which no URL can carry, becomes its replacement character. */
function encode(text: string): string {
  return encodeURIComponent(text.toWellFormed()).replace(/^\.{1,2}$/, "%2e");
}

interface Body {
  headers: Record<string, string>;
  body?: string | Uint8Array;
}

function bodiesOf(content: Content, values: Values): fc.Arbitrary<(known: Known) => Body> {
  const json = content["application/json"];
  if (!json) return fc.constant(() => ({ headers: {} }));
  const headers = { "content-type": "application/json" };
  const fitting = values
    .fitting(json.schema ?? {}, "")
    .map((value) => (known: Known) => ({ headers, body: JSON.stringify(settle(value, known)) ?? "" }));
  const raw = fc.constantFrom(...hostileBodies).map((body) => () => ({ headers, body }));
  const other = fc
    .constantFrom("text/plain", "application/xml", "application/json; charset=utf-16", "multipart/form-data", "")
    .map((type) => () => ({ headers: { "content-type": type }, body: "{}" }));
  const none = fc.constant(() => ({ headers: {} }));
  return fc.oneof(
    { weight: 20, arbitrary: fitting },
    { weight: 3, arbitrary: raw },
    { weight: 1, arbitrary: other },
    { weight: 1, arbitrary: none },
  );
}
