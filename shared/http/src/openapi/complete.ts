import { withSharedComponents } from "./components.ts";
import {
  type Document,
  dateOrTime,
  type Operation,
  operationsOf,
  type Parameter,
  type PathItem,
  type Response,
  type Schema,
  type Tag,
} from "./document.ts";
import { ExampleComposer } from "./examples.ts";
import { operationIdFault, operationIdOf } from "./operation-ids.ts";

/** Examples in a route's definition; completion removes them from the document. */
export interface GivenExample {
  /** The whole request body. */
  request?: unknown;
  /** Response fields that differ from their schemas' examples. */
  response?: unknown;
  /** The response as CSV. */
  file?: string | undefined;
  /** The request as CSV. */
  upload?: string | undefined;
}

/** An operation as its route describes it. */
export interface RawOperation extends Operation {
  "x-example"?: GivenExample;
  /** The response masks sensitive values. */
  "x-masked"?: boolean;
}

/** What `completeDocument` adds to a document. */
export interface Completion {
  /** All tags of the operations, in the order of the published page. */
  tags: readonly Tag[];
  /** Examples of fields by name, for fields whose schemas have none. */
  exampleValues?: Readonly<Record<string, unknown>>;
  /** Masks a sensitive value of a response. */
  mask?: (kind: string, value: unknown) => unknown;
}

/**
 * Makes a published document from one that routes describe: operation ids, ordered tags, shared components, whole examples of requests and
 * responses. Throws an Error that names what a route lacks.
 */
export function completeDocument(raw: object, completion: Completion): Document {
  const document = JSON.parse(JSON.stringify(raw), (_, value) => documentedMoment(value)) as Document;
  const taken = new Set<string>();
  for (const { method, path, operation } of operationsOf(document)) {
    const where = `${method.toUpperCase()} ${path}`;
    operation.operationId ??= operationIdOf(method, path);
    const fault = operationIdFault(operation.operationId, taken) ?? tagFault(operation, completion.tags);
    if (fault) throw new Error(`${where} ${fault}`);
    taken.add(operation.operationId);
    completeOperation(document, operation, completion);
  }
  for (const operation of Object.values(document.webhooks ?? {}).flatMap((methods) => Object.values(methods)))
    completeOperation(document, operation, completion);
  const used = new Set(operations(document).flatMap(({ tags = [] }) => tags));
  const tags = completion.tags.filter(({ name }) => used.has(name));
  return withSharedComponents({ ...document, tags, paths: inOrder(document.paths, tags) });
}

function documentedMoment(value: unknown): unknown {
  if (typeof value !== "object" || value === null || (value as Schema).format !== dateOrTime) return value;
  const { type, format, ...schema } = value as Schema;
  const either: Schema[] = ["date", "date-time"].map((one) => ({ type: "string", format: one }));
  return { anyOf: [type ?? []].flat().includes("null") ? [...either, { type: "null" }] : either, ...schema };
}

function operations({ paths, webhooks = {} }: Document): Operation[] {
  return [...Object.values(paths), ...Object.values(webhooks)].flatMap((methods) => Object.values(methods));
}

function tagFault({ tags = [] }: Operation, known: readonly Tag[]): string | undefined {
  const [tag, more] = tags;
  if (tag === undefined || more !== undefined) return "needs exactly one tag";
  if (!known.some(({ name }) => name === tag))
    return `has the tag "${tag}", which the document does not describe: add it to the tags of its application`;
  return undefined;
}

function completeOperation(document: Document, operation: RawOperation, completion: Completion): void {
  const { "x-example": given, "x-masked": isMasked, "x-permission": permission } = operation;
  delete operation["x-example"];
  delete operation["x-masked"];
  operation.description ??= `${operation.summary}.`;
  if (permission) operation.description += `\n\nNeeds the permission \`${permission}\`.`;
  for (const parameter of operation.parameters ?? []) if ("name" in parameter) completeParameter(parameter);
  const values = completion.exampleValues ?? {};
  const request = new ExampleComposer(document, { values, isRequest: true });
  for (const [type, body] of Object.entries(operation.requestBody?.content ?? {})) {
    if (type === "application/json" && body.schema) body.example ??= given?.request ?? request.of(body.schema);
    if (type === "text/csv" && given?.upload !== undefined) body.example ??= given.upload;
  }
  const response = new ExampleComposer(document, { values, isRequest: false, mask: isMasked ? completion.mask : undefined });
  for (const [status, described] of Object.entries(operation.responses)) {
    const { "application/json": json, "text/csv": csv } = (status.startsWith("2") && (described as Response).content) || {};
    const isSecond = status === "202" && operation.responses[200] !== undefined;
    if (json?.schema) json.example ??= response.of(json.schema, isSecond ? undefined : given?.response);
    if (csv && given?.file !== undefined) csv.example ??= given.file;
  }
}

/** Moves the example of an optional parameter to its description: tools would otherwise send it. */
function completeParameter(parameter: Parameter): void {
  const { schema } = parameter;
  const example = schema?.examples?.[0] ?? schema?.example ?? parameter.example;
  if (schema) {
    delete schema.examples;
    delete schema.example;
    delete schema.description;
  }
  const preset = schema?.default ?? schema?.enum?.[0];
  // The documentation page would send the default or the first value of each optional parameter.
  if (!parameter.required && preset !== undefined) parameter.examples = { unsent: { value: preset, "x-disabled": true } };
  if (example === undefined) return;
  if (parameter.required) parameter.example = example;
  else parameter.description = `${parameter.description ? `${parameter.description}. ` : ""}Example: \`${String(example)}\``;
}

function inOrder(paths: Record<string, PathItem>, tags: readonly Tag[]): Record<string, PathItem> {
  const place = (methods: PathItem) => tags.findIndex(({ name }) => name === Object.values(methods)[0]?.tags?.[0]);
  const sorted = Object.entries(paths).map((entry, index) => ({ entry, place: place(entry[1]), index }));
  sorted.sort((left, right) => left.place - right.place || left.index - right.index);
  return Object.fromEntries(sorted.map(({ entry }) => entry));
}
