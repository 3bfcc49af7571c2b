const verbs: Readonly<Record<string, string>> = { get: "get", post: "create", put: "replace", patch: "update", delete: "delete" };

const idPattern = /^[a-z][A-Za-z0-9]*\.[a-z][A-Za-z0-9]*$/;

/**
 * The id of an operation, by its method and path: `resource.verb`.
 * `GET /customers` is `customers.list`, `PATCH /customers/{id}` is `customers.update`, `POST /customers/{id}/merge` is `customers.merge`,
 * `PUT /contracts/{id}/instalments` is `contracts.replaceInstalments`. Prefixes such as /api/admin do not count.
 */
export function operationIdOf(method: string, path: string): string {
  const segments = path
    .replace(/^\/api\/(?:admin\/)?/, "/")
    .split("/")
    .filter((segment) => segment !== "");
  const isItem = segments.at(-1)?.startsWith("{") ?? false;
  const [resource = "", ...rest] = segments.filter((segment) => !segment.startsWith("{"));
  const verb = verbs[method] ?? method;
  if (rest.length === 0) return `${camelCase(resource)}.${method === "get" && !isItem ? "list" : verb}`;
  const what = camelCase(rest.join("-"));
  const isPlain = !isItem && (method === "get" || method === "post");
  return `${camelCase(resource)}.${isPlain ? what : `${verb}${what.charAt(0).toUpperCase()}${what.slice(1)}`}`;
}

/** What is wrong with an operation's id, as a sentence, or undefined. `taken` holds the ids of earlier operations. */
export function operationIdFault(id: string | undefined, taken: ReadonlySet<string>): string | undefined {
  const remedy = "set `operationId` in the definition of its route";
  if (id === undefined) return `has no operationId: ${remedy}`;
  if (!idPattern.test(id)) return `has the operationId "${id}", which is not of the form resource.verb in camel case: ${remedy}`;
  if (taken.has(id)) return `has the operationId "${id}" of another operation: ${remedy}`;
  return undefined;
}

/** `errors.csv` and `errors-csv` are `errorsCsv`. */
export function camelCase(text: string): string {
  return text.replace(/[^A-Za-z0-9]+([A-Za-z0-9])/g, (_, letter: string) => letter.toUpperCase());
}
