import { type Document, type Operation, type Parameter, type Response, resolved, type Schema } from "@cell/http/openapi/document";

/** Breaking changes from `before` to `after`, one sentence each: removed, newly required, or narrower. */
export function breakingChanges(before: Document, after: Document): string[] {
  const found: string[] = [];
  for (const [path, methods] of Object.entries(before.paths)) {
    for (const [method, operation] of Object.entries(methods)) {
      const where = `${method.toUpperCase()} ${path}`;
      const now = after.paths[path]?.[method];
      if (!now) found.push(`${where} is gone`);
      else found.push(...operationChanges(where, operation, now, new Schemas(before, after)));
    }
  }
  return found;
}

/** Whether the major version allows breaking changes. */
export function isMajorStep(before: Document, after: Document): boolean {
  const major = (document: Document) => Number(document.info.version.split(".")[0]);
  return major(after) > major(before);
}

function operationChanges(where: string, before: Operation, after: Operation, schemas: Schemas): string[] {
  const found: string[] = [];
  const nowParameters = parametersOf(schemas.after, after);
  const oldParameters = parametersOf(schemas.before, before);
  for (const [name, parameter] of oldParameters) {
    const now = nowParameters.get(name);
    if (!now) found.push(`${where}: the parameter ${name} is gone`);
    else found.push(...schemas.requests(`${where} ${name}`, parameter.schema ?? {}, now.schema ?? {}));
  }
  for (const [name, parameter] of nowParameters) {
    if (parameter.required && !oldParameters.get(name)?.required) found.push(`${where}: the parameter ${name} is required now`);
  }
  if (after.requestBody?.required && !before.requestBody?.required) found.push(`${where}: a body is required now`);
  for (const [type, { schema }] of Object.entries(before.requestBody?.content ?? {})) {
    const now = after.requestBody?.content[type];
    if (!now) found.push(`${where}: a body of ${type} is not taken any more`);
    else found.push(...schemas.requests(`${where} body`, schema ?? {}, now.schema ?? {}));
  }
  for (const [status, response] of Object.entries(before.responses)) {
    if (!status.startsWith("2")) continue;
    if (!after.responses[status]) found.push(`${where}: does not answer ${status} any more`);
    const [oldContent, newContent] = [contentOf(schemas.before, response), contentOf(schemas.after, after.responses[status])];
    for (const [type, { schema }] of Object.entries(oldContent)) {
      const now = newContent[type];
      if (!now) found.push(`${where} ${status}: is not answered as ${type} any more`);
      else found.push(...schemas.responses(`${where} ${status}`, schema ?? {}, now.schema ?? {}));
    }
  }
  return found;
}

/** The parameters of an operation by location and name; header names are case-insensitive. */
function parametersOf(document: Document, { parameters = [] }: Operation): Map<string, Parameter> {
  const all = parameters.map((parameter) => resolved<Parameter>(document, parameter));
  return new Map(
    all.map((parameter) => [`${parameter.in} ${parameter.in === "header" ? parameter.name.toLowerCase() : parameter.name}`, parameter]),
  );
}

function contentOf(document: Document, response: Operation["responses"][string] | undefined): NonNullable<Response["content"]> {
  return (response && resolved<Response>(document, response).content) ?? {};
}

/** Compares schemas of two documents. */
class Schemas {
  readonly before: Document;
  readonly after: Document;

  constructor(before: Document, after: Document) {
    this.before = before;
    this.after = after;
  }

  /** Everything that was accepted must still be accepted. */
  requests(where: string, oldSchema: Schema, newSchema: Schema): string[] {
    const [before, after] = [resolved<Schema>(this.before, oldSchema), resolved<Schema>(this.after, newSchema)];
    const found = typeChanges(before, after, (lost) => `${where}: does not take ${lost} any more`);
    for (const name of after.required ?? []) {
      if (!before.required?.includes(name)) found.push(`${where}.${name} is required now`);
    }
    for (const [name, schema] of Object.entries(before.properties ?? {})) {
      const now = after.properties?.[name];
      if (now) found.push(...this.requests(`${where}.${name}`, schema, now));
      else if (after.additionalProperties === false) found.push(`${where}.${name} is not taken any more`);
    }
    for (const value of after.enum && before.enum ? before.enum.filter((each) => !after.enum?.includes(each)) : []) {
      found.push(`${where}: the value ${JSON.stringify(value)} is not taken any more`);
    }
    if (after.enum && !before.enum) found.push(`${where}: takes only ${after.enum.join(", ")} now`);
    for (const [limit, isNarrower] of limits) {
      if (isNarrower(before[limit], after[limit]))
        found.push(`${where}: ${limit} is narrower: ${before[limit] ?? "none"} before, ${after[limit]} now`);
    }
    if (before.items && after.items) found.push(...this.requests(`${where}[]`, before.items, after.items));
    return found;
  }

  /** Everything that was returned must still be returned. */
  responses(where: string, oldSchema: Schema, newSchema: Schema): string[] {
    const [before, after] = [resolved<Schema>(this.before, oldSchema), resolved<Schema>(this.after, newSchema)];
    const found = typeChanges(after, before, (gained) => `${where}: may be ${gained} now`);
    for (const [name, schema] of Object.entries(before.properties ?? {})) {
      const now = after.properties?.[name];
      if (!now) found.push(`${where}.${name} is gone`);
      else {
        if (before.required?.includes(name) && !after.required?.includes(name)) found.push(`${where}.${name} may be missing now`);
        found.push(...this.responses(`${where}.${name}`, schema, now));
      }
    }
    if (before.items && after.items) found.push(...this.responses(`${where}[]`, before.items, after.items));
    return found;
  }
}

type Limit = "maxLength" | "minLength" | "maximum" | "minimum" | "pattern";
type Compare = (before: number | string | undefined, after: number | string | undefined) => boolean;

const isLower: Compare = (before, after) => after !== undefined && Number(after) < Number(before ?? Number.POSITIVE_INFINITY);
const isHigher: Compare = (before, after) => after !== undefined && Number(after) > Number(before ?? Number.NEGATIVE_INFINITY);
const limits: [Limit, Compare][] = [
  ["maxLength", isLower],
  ["maximum", isLower],
  ["minLength", (before, after) => isHigher(before ?? 0, after)],
  ["minimum", isHigher],
  ["pattern", (before, after) => after !== undefined && after !== before],
];

/** The types of `one` that `other` lacks. */
function typeChanges(one: Schema, other: Schema, say: (type: string) => string): string[] {
  const types = (schema: Schema) => (schema.type === undefined ? [] : [schema.type].flat());
  const [had, has] = [types(one), types(other)];
  if (had.length === 0 || has.length === 0) return [];
  return had.filter((type) => !has.includes(type) && !(type === "integer" && has.includes("number"))).map(say);
}
