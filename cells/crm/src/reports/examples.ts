import type { EndpointExample } from "@cell/cell";

/**
 * The golden data set's response, by path. A test in golden.test.ts compares it: `npm test -- cells/crm/src/reports/golden.test.ts -u`
 * rewrites it.
 */
export async function exampleOf(path: string): Promise<EndpointExample> {
  const { default: examples } = await import("./examples.json", { with: { type: "json" } });
  return (examples as Record<string, EndpointExample>)[path] ?? {};
}
