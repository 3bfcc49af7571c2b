import { type Document, resolved, type Schema } from "./document.ts";

/** Placeholder for a missing example: the document check rejects it. */
export const missingExample = "(no example)";

/** How an example is composed. */
export interface ExampleOptions {
  /** Examples of fields by name, for fields whose schemas have none. */
  values: Readonly<Record<string, unknown>>;
  /** A request leaves out optional fields that have no example. */
  isRequest: boolean;
  /** Masks a sensitive value; set where the response is masked. */
  mask?: ((kind: string, value: unknown) => unknown) | undefined;
}

const formats: Readonly<Record<string, unknown>> = {
  uuid: "0197c3a2-7c1e-7b1a-9d53-0d6b6a1f2c10",
  "date-time": "2026-01-31T08:00:00.000Z",
  date: "2026-01-31",
  uri: "https://example.com/",
};

/** Composes the examples of whole schemas from the examples of their fields, so that they follow each change of a schema. */
export class ExampleComposer {
  readonly #document: Pick<Document, "components">;
  readonly #options: ExampleOptions;

  constructor(document: Pick<Document, "components">, options: ExampleOptions) {
    this.#document = document;
    this.#options = options;
  }

  /** The example of a schema; `overrides` replaces single fields or the whole. */
  of(given: Schema, overrides?: unknown, name = ""): unknown {
    const schema = resolved<Schema>(this.#document, given);
    if (overrides !== undefined && !isObject(overrides)) return overrides;
    const composed = this.#composed(schema, name, overrides);
    if (overrides === undefined || !isObject(composed)) return overrides ?? composed;
    return { ...composed, ...Object.fromEntries(Object.entries(overrides).filter(([key]) => !(key in composed))) };
  }

  #composed(schema: Schema, name: string, overrides: Record<string, unknown> | undefined): unknown {
    if (overrides === undefined || !schema.properties) {
      const known = this.#known(schema, name);
      if (known !== undefined) return known;
    }
    const options = schema.anyOf ?? schema.oneOf;
    if (options) return this.of(options.find(({ type }) => type !== "null") ?? {}, overrides, name);
    if (schema.allOf) return Object.assign({}, ...schema.allOf.map((part) => this.of(part, overrides, name)));
    if (schema.properties) return this.#object(schema, schema.properties, overrides ?? {});
    return this.#plain(schema, name);
  }

  #known(schema: Schema, name: string): unknown {
    if (schema.examples && schema.examples.length > 0) return schema.examples[0];
    if (schema.example !== undefined) return schema.example;
    if (schema.const !== undefined) return schema.const;
    if (Object.hasOwn(this.#options.values, name)) return this.#options.values[name];
    return schema.enum?.[0];
  }

  #object(schema: Schema, properties: Record<string, Schema>, overrides: Record<string, unknown>): object {
    const masked: string[] = [];
    const entries = Object.entries(properties).flatMap(([name, property]) => {
      if (!(name in overrides) && !this.#isShown(schema, property, name)) return [];
      const value = this.of(property, overrides[name], name);
      const kind = resolved<Schema>(this.#document, property)["x-sensitive"];
      const shown = kind && this.#options.mask ? this.#options.mask(kind, value) : value;
      if (shown !== value) masked.push(name);
      return [[name, shown] as const];
    });
    const composed = Object.fromEntries(entries);
    if ("_masked" in composed && !("_masked" in overrides)) composed._masked = masked;
    return composed;
  }

  #isShown({ required = [] }: Schema, given: Schema, name: string): boolean {
    if (required.includes(name)) return true;
    const schema = resolved<Schema>(this.#document, given);
    if (schema.examples !== undefined || schema.example !== undefined) return true;
    return !this.#options.isRequest && (schema.properties !== undefined || schema.anyOf !== undefined);
  }

  #plain(schema: Schema, name: string): unknown {
    const types = [schema.type ?? []].flat();
    if (types.includes("null")) return null;
    switch (types[0]) {
      case "array":
        return schema.items ? [this.of(schema.items, undefined, name)] : [];
      case "string":
        return formats[schema.format ?? ""] ?? missingExample;
      case "integer":
      case "number":
        return Math.max(1, schema.minimum ?? 1);
      case "boolean":
        return false;
      default:
        return {};
    }
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
