import { version } from "@cell/http";
import type { Document } from "@cell/http/openapi/document";
import type { Cell, CellDescription, Slice } from "./cell-types.ts";
import type { Endpoint, EventDefinition } from "./http/endpoint.ts";
import type { DescribedEndpoint } from "./http/openapi.ts";

/** Examples of fields that the framework adds to records; a cell's own take precedence. */
const frameworkExamples = { tenantId: "tenant-001", actorId: "user-001", requestId: "req-20260131-0001" };

/** The OpenAPI 3.1 document of the routes that slices declare. No process is needed; what makes the document is loaded with the first call. */
export async function cellDocument(
  { name, title, description, tags, exampleValues }: CellDescription,
  slices: readonly Slice<never>[],
): Promise<Document> {
  const { endpoints, events } = declaredBy(slices);
  const { cellDocumentOf } = await import("./http/openapi.ts");
  return cellDocumentOf(endpoints, events, {
    title,
    version,
    description,
    tags,
    exampleValues: { ...frameworkExamples, ...exampleValues },
    servers: [npmStart(name)],
  });
}

function declaredBy(slices: readonly Slice<never>[]): { endpoints: DescribedEndpoint[]; events: EventDefinition[] } {
  const endpoints: DescribedEndpoint[] = [];
  const events: EventDefinition[] = [];
  const add = (endpoint: Endpoint) => void endpoints.push({ endpoint, listing: undefined });
  const cell: Cell = {
    read: add,
    command: add,
    stream: add,
    upload: add,
    list: (endpoint, { definition }) => void endpoints.push({ endpoint, listing: definition }),
    events: (given) => void events.push(...given),
    inTime: absent,
    file: absent,
    record: absent,
    later: absent,
    requests: absent,
  };
  for (const slice of slices) slice(cell, absent);
  return { endpoints, events };
}

function absent(): never {
  throw new Error("a route uses the process while it is declared: only its handler may");
}

/** The server in the committed document; a running process names its own. */
function npmStart(cell: string) {
  return { url: `http://127.0.0.1:8080/api/v1/${cell}`, description: "npm start" };
}
