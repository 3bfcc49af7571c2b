import { cellDocument } from "@cell/cell";
import type { Document } from "@cell/http/openapi/document";
import { crm } from "./app.ts";

/** The cell's OpenAPI document, generated without a process. */
export function crmDocument(): Promise<Document> {
  return cellDocument(crm, crm.slices);
}
