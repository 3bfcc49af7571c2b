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
import { missingExample } from "../openapi/examples.ts";
import { operationIdFault } from "../openapi/operation-ids.ts";
import { schemaValidator } from "./response-checker.ts";

/**
 * What a published document lacks, one sentence each with its remedy: ids, described tags and parameters, valid examples of whole requests
 * and responses, limits and formats of request values.
 */
export function documentFaults(document: Document): string[] {
  const faults = new Faults(document);
  const taken = new Set<string>();
  for (const { method, path, operation } of operationsOf(document)) {
    const where = `${method.toUpperCase()} ${path}`;
    const fault = operationIdFault(operation.operationId, taken);
    if (fault) faults.add(where, fault);
    // Generated clients name the types of an operation by its id: a schema of the same name would define them twice.
    const typeName = (operation.operationId ?? "").replace(/(?:^|\.)([a-z])/g, (_, letter: string) => letter.toUpperCase());
    if (document.components?.schemas?.[typeName])
      faults.add(where, `has the operationId "${operation.operationId}", whose types would clash with the schema ${typeName}: rename one`);
    taken.add(operation.operationId ?? "");
    faults.ofOperation(where, ["paths", path, method], operation);
  }
  for (const [name, methods] of Object.entries(document.webhooks ?? {})) {
    for (const [method, operation] of Object.entries(methods)) faults.ofOperation(`webhook ${name}`, ["webhooks", name, method], operation);
  }
  return faults.found;
}

const exampleRemedy = "give the fields `examples` in their meta, or the route an `example`";

class Faults {
  readonly found: string[] = [];
  readonly #document: Document;
  readonly #validate: ReturnType<typeof schemaValidator>;

  constructor(document: Document) {
    this.#document = document;
    this.#validate = schemaValidator(document);
  }

  add(where: string, fault: string): void {
    this.found.push(`${where} ${fault}`);
  }

  ofOperation(where: string, pointer: readonly string[], operation: Operation): void {
    const [tag] = operation.tags ?? [];
    if (!this.#document.tags?.some(({ name }) => name === tag))
      this.add(where, `has the tag "${tag}", which the document does not describe`);
    if (!operation.summary) this.add(where, "has no summary");
    for (const given of operation.parameters ?? []) this.#ofParameter(where, resolved<Parameter>(this.#document, given));
    for (const [type, body] of Object.entries(operation.requestBody?.content ?? {})) {
      if (type === "application/json") this.#ofExample(`${where}: the request`, [...pointer, "requestBody", "content", type], body);
      if (type === "text/csv") this.#ofExample(`${where}: the request as ${type}`, [...pointer, "requestBody", "content", type], body);
      // Webhook bodies are only sent: they need no limits.
      if (type === "application/json" && pointer[0] === "paths") this.#ofTexts(where, body.schema ?? {}, "body");
    }
    for (const [status, given] of Object.entries(operation.responses)) {
      const response = resolved<Response>(this.#document, given);
      const isSuccess = status.startsWith("2");
      if (!isSuccess && status !== "304" && response === given && (operation.security?.length ?? 0) > 0)
        this.add(where, `describes ${status} by itself: take errorResponseRefs of @cell/http/openapi/components`);
      if (!isSuccess) continue;
      if (pointer[0] === "paths" && !response.headers?.["X-Request-ID"])
        this.add(where, `does not declare the header X-Request-ID of ${status}: take headerRefs of @cell/http/openapi/components`);
      for (const [type, body] of Object.entries(response.content ?? {}).filter(([name]) => name !== "text/html"))
        this.#ofExample(`${where}: the response ${status} as ${type}`, [...pointer, "responses", status, "content", type], body);
    }
  }

  #ofParameter(where: string, { name, in: place, required, description, schema = {}, example, examples }: Parameter): void {
    const what = `${place} parameter ${name}`;
    if (!description) this.add(where, `has a ${what} without a description`);
    if (!required && (example !== undefined || schema.examples || schema.example !== undefined))
      this.add(where, `has an example for the optional ${what}, which tools would send: name it in the description`);
    const isPreset = schema.default !== undefined || schema.enum !== undefined;
    const isUnsent = examples !== undefined && Object.values(examples).every((one) => one["x-disabled"]);
    if (!required && isPreset && !isUnsent)
      this.add(where, `would make the documentation page send the optional ${what}: give it an example with x-disabled`);
    if (place === "query" && isUnbounded(schema))
      this.add(where, `has a ${what} without a limit: give it a maximum length, a pattern or values`);
  }

  #ofExample(what: string, pointer: readonly string[], { example, schema }: MediaType): void {
    const missing = pathOf(example, missingExample);
    if (example === undefined) this.add(what, `has no example: ${exampleRemedy}`);
    else if (missing !== undefined) this.add(what, `has no example for ${missing || "the whole"}: ${exampleRemedy}`);
    else {
      const fault = schema ? this.#validate([...pointer, "schema"], example) : "it has none";
      if (fault) this.add(what, `has an example that does not fit its schema, ${fault}: ${exampleRemedy}`);
    }
  }

  /** Requires a length limit for request texts and a format for times. */
  #ofTexts(where: string, given: Schema, path: string): void {
    const schema = resolved<Schema>(this.#document, given);
    if (isUnbounded(schema)) this.add(where, `takes a text without a limit at ${path}: give it a maximum length, a pattern or values`);
    if (/(?:At|Date)$/.test(path) && [schema.type].flat().includes("string") && !schema.format)
      this.add(where, `takes a time or a date without a format at ${path}: give it \`format\` in its meta`);
    for (const [name, property] of Object.entries(schema.properties ?? {})) this.#ofTexts(where, property, `${path}.${name}`);
    if (schema.items) this.#ofTexts(where, schema.items, `${path}[]`);
    for (const option of schema.anyOf ?? []) this.#ofTexts(where, option, path);
  }
}

function isUnbounded({ type, maxLength, pattern, format, enum: values, const: only }: Schema): boolean {
  const isText = [type ?? []].flat().includes("string");
  return isText && [maxLength, pattern, format, values, only].every((limit) => limit === undefined);
}

/** The path of a value within another; undefined if it is not there. */
function pathOf(whole: unknown, keyword: unknown): string | undefined {
  if (whole === keyword) return "";
  if (typeof whole !== "object" || whole === null) return undefined;
  for (const [name, inner] of Object.entries(whole)) {
    const path = pathOf(inner, keyword);
    if (path !== undefined) return path === "" ? name : `${name}.${path}`;
  }
  return undefined;
}
