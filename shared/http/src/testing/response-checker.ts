import { Ajv2020, type ValidateFunction } from "ajv/dist/2020.js";
import formats from "ajv-formats";
import { type Document, type Operation, type Response, resolved } from "../openapi/document.ts";

/** A response as its client sees it. */
export interface SeenResponse {
  status: number;
  headers: Headers;
  /** The parsed JSON; undefined for other media types. */
  body: unknown;
}

/** Headers of HTTP and of browsers rather than of an operation: documents need not declare them. */
const undeclaredHeaders = new Set([
  "access-control-allow-origin",
  "access-control-expose-headers",
  "cache-control",
  "connection",
  "content-length",
  "content-security-policy",
  "content-type",
  "date",
  "keep-alive",
  "transfer-encoding",
  "vary",
  "x-content-type-options",
]);

/**
 * Compares responses with an OpenAPI document: throws an Error for an undeclared status, header, media type or body.
 * Paths that the document lacks must respond in the error form.
 */
export function responseChecker(document: Document): (method: string, path: string, response: SeenResponse) => void {
  const { paths } = document;
  const validate = schemaValidator(document);
  const routes = Object.keys(paths).map((path) => ({ path, pattern: new RegExp(`^${path.replace(/\{\w+\}/g, "[^/]+")}/?$`) }));

  return (method, path, { status, headers, body }) => {
    const bare = path.split("?")[0] ?? "";
    const route = routes.find((candidate) => candidate.path === bare) ?? routes.find((candidate) => candidate.pattern.test(bare));
    const operation: Operation | undefined = route && paths[route.path]?.[method.toLowerCase()];
    if (!route || !operation) return;
    const where = `${method} ${route.path} ${status}`;
    const reference = operation.responses[String(status)];
    if (!reference) throw new Error(`${where}: the document does not declare this status; the response was ${JSON.stringify(body)}`);
    const declared = resolved<Response>(document, reference);
    const names = new Set(Object.keys(declared.headers ?? {}).map((name) => name.toLowerCase()));
    const undeclared = [...headers.keys()].filter((name) => !names.has(name) && !undeclaredHeaders.has(name));
    if (undeclared.length > 0) throw new Error(`${where}: the document does not declare the header ${undeclared.join(", ")}`);
    if (!declared.content) return;
    const contentType = headers.get("content-type") ?? "";
    const type = contentType.split(";")[0]?.trim() ?? "";
    const content = declared.content[type];
    if (!content) throw new Error(`${where}: the document does not declare the media type "${contentType}"`);
    if (type !== "application/json") return;
    const name = reference === declared ? undefined : (reference as { $ref: string }).$ref.split("/").at(-1);
    const pointer = name
      ? ["components", "responses", name, "content", type, "schema"]
      : ["paths", route.path, method.toLowerCase(), "responses", String(status), "content", type, "schema"];
    const fault = validate(pointer, body);
    if (fault) throw new Error(`${where}: the response does not fit the document: ${fault}\n${JSON.stringify(body)}`);
  };
}

/** Validates values against the schemas of a document, each given by its path in the document; returns what does not fit. */
export function schemaValidator(document: Document): (pointer: readonly string[], value: unknown) => string | undefined {
  const ajv = new Ajv2020({ strict: false, allErrors: true });
  formats.default(ajv);
  ajv.addSchema(document, "document");
  const validators = new Map<string, ValidateFunction>();
  return (pointer, value) => {
    const place = pointer.map((part) => encodeURIComponent(part.replaceAll("~", "~0").replaceAll("/", "~1"))).join("/");
    let validate = validators.get(place);
    if (!validate) {
      validate = ajv.compile({ $ref: `document#/${place}` });
      validators.set(place, validate);
    }
    return validate(value) ? undefined : ajv.errorsText(validate.errors);
  };
}
