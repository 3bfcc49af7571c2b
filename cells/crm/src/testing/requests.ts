import type { TestClient, TestResponse } from "@cell/cell/testing/test-cell";
import { expect } from "vitest";

/** Creates a record and resolves to it; fails the test where the response is not 201. */
// biome-ignore lint/suspicious/noExplicitAny: the checker has compared the response with the document.
export async function created(client: TestClient, path: string, body: object): Promise<any> {
  const response = await client.post(path, { body });
  expect(response.status, response.text).toBe(201);
  return response.body;
}

/** Creates a customer and resolves to its id. */
export async function newCustomer(client: TestClient, name: string): Promise<string> {
  return (await created(client, "/customers", { name })).customerId;
}

/** A query string. */
export function query(parameters: Record<string, string>): string {
  return new URLSearchParams(parameters).toString();
}

/** Imports a CSV file; `path` is the import's, with its query. */
export function importCsv(client: TestClient, path: string, raw: string | Uint8Array, key?: string): Promise<TestResponse> {
  return client.post(path, { raw, headers: { "content-type": "text/csv" }, ...(key === undefined ? {} : { key }) });
}

/** The totals of an import's report: all, created, updated, skipped, failed. */
export function importCounts({ body }: TestResponse): number[] {
  return [body.total, body.created, body.updated, body.skipped, body.failed];
}
