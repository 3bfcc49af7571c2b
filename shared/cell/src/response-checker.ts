import { Ajv2020, type ValidateFunction } from "ajv/dist/2020.js";
import formats from "ajv-formats";

interface Operation {
  responses: Record<string, { content?: Record<string, { schema?: object }> }>;
}

/** An OpenAPI document, as far as checks look into it. */
export interface Document {
  paths: Record<string, Record<string, Operation>>;
  components?: { schemas?: Record<string, object> };
}

/**
 * Holds answers to an OpenAPI document: throws an Error for a status, a media type or a body that it does not declare.
 * Paths that the document does not know have to answer the problem form.
 */
export function responseChecker(
  document: object,
): (method: string, path: string, status: number, contentType: string, body: unknown) => void {
  const { paths } = document as Document;
  const ajv = new Ajv2020({ strict: false, allErrors: true });
  (formats as unknown as (ajv: Ajv2020) => void)(ajv);
  ajv.addSchema(document, "document");
  const validators = new Map<string, ValidateFunction>();
  const routes = Object.keys(paths).map((path) => ({ path, pattern: new RegExp(`^${path.replace(/\{\w+\}/g, "[^/]+")}/?$`) }));

  return (method, path, status, contentType, body) => {
    const bare = path.split("?")[0] ?? "";
    const route = routes.find((candidate) => candidate.path === bare) ?? routes.find((candidate) => candidate.pattern.test(bare));
    const operation = route && paths[route.path]?.[method.toLowerCase()];
    if (!route || !operation) return;
    const where = `${method} ${route.path} ${status}`;
    const declared = operation.responses[String(status)];
    if (!declared) throw new Error(`${where}: the document does not declare this status; the answer was ${JSON.stringify(body)}`);
    if (!declared.content) return;
    const type = contentType.split(";")[0]?.trim() ?? "";
    if (!declared.content[type]) throw new Error(`${where}: the document does not declare the media type "${contentType}"`);
    if (type !== "application/json") return;
    let validate = validators.get(where);
    if (!validate) {
      const pointer = ["paths", route.path, method.toLowerCase(), "responses", String(status), "content", type, "schema"];
      validate = ajv.compile({
        $ref: `document#/${pointer.map((part) => encodeURIComponent(part.replaceAll("~", "~0").replaceAll("/", "~1"))).join("/")}`,
      });
      validators.set(where, validate);
    }
    if (!validate(body))
      throw new Error(`${where}: the answer does not fit the document: ${ajv.errorsText(validate.errors)}\n${JSON.stringify(body)}`);
  };
}
