import type { Stack } from "./stack.ts";
import { callerHeaders } from "./tenants.ts";

export interface ReceivedResponse<Body> {
  status: number;
  headers: Headers;
  body: Body;
}

/** One call through the gateway. Rejects unless it is a success. */
export async function call<Body>(
  stack: Stack,
  tenantId: string,
  path: string,
  {
    method = "GET",
    headers = {},
    body,
  }: { method?: string; headers?: Record<string, string>; body?: string | Uint8Array<ArrayBuffer> } = {},
): Promise<ReceivedResponse<Body>> {
  const response = await fetch(`${stack.gateway}/api/v1/crm${path}`, {
    method,
    headers: { ...callerHeaders(tenantId), ...headers },
    ...(body === undefined ? {} : { body }),
  });
  const text = await response.text();
  if (!response.ok) throw new Error(`${method} ${path} answers ${response.status}: ${text.slice(0, 500)}`);
  return { status: response.status, headers: response.headers, body: (text === "" ? undefined : JSON.parse(text)) as Body };
}
