import { randomBytes } from "node:crypto";
import { type AssertionKeys, createLogger, type Principal, parseAssertionKeys, serve, signAssertion } from "@cell/http";
import type { Document } from "@cell/http/openapi/document";
import { responseChecker, type SeenResponse } from "@cell/http/testing/response-checker";
import type { Registry } from "@cell/postgres";
import type { AssembledCell } from "../assemble-cell.ts";

export const testAssertionKeysText = `test:${Buffer.alloc(32, 7).toString("base64url")}`;
export const testAssertionKeys: AssertionKeys = parseAssertionKeys(testAssertionKeysText);

/** The metrics token of test cells. */
export const testMetricsToken = "metrics-token-for-the-tests-only";

export interface TestResponse {
  status: number;
  headers: Headers;
  text: string;
  /** The JSON of the response; undefined for other media types. */
  // biome-ignore lint/suspicious/noExplicitAny: tests read responses whose shape the checker has compared with the document.
  body: any;
}

export interface TestRequest {
  body?: unknown;
  /** A body that is not JSON, with its content type in the headers. */
  raw?: string | Uint8Array;
  headers?: Record<string, string>;
  /** The caller's own request id, which makes a write idempotent. */
  key?: string;
}

export interface TestClient {
  readonly principal: Principal;
  /** The headers that the gateway would add to a request, for other clients. */
  headers(key?: string): Record<string, string>;
  get(path: string, request?: TestRequest): Promise<TestResponse>;
  post(path: string, request?: TestRequest): Promise<TestResponse>;
  patch(path: string, request?: TestRequest): Promise<TestResponse>;
  delete(path: string, request?: TestRequest): Promise<TestResponse>;
  send(method: string, path: string, request?: TestRequest): Promise<TestResponse>;
}

export interface TestCell {
  url: string;
  registry: Registry;
  document: Document;
  /** A client that sends what the gateway would send for a user; default: with every permission. */
  client(tenantId: string, principal?: Partial<Principal>): TestClient;
  /** The process's metrics in Prometheus's format. */
  metrics(): Promise<string>;
  /** Provisions a new tenant. */
  tenant(): Promise<string>;
  stop(): Promise<void>;
}

/** Serves a cell on a free port, over real HTTP; every response that its clients see is compared with the OpenAPI document. */
export async function serveTestCell(
  name: string,
  cell: Pick<AssembledCell<object>, "app" | "document" | "permissions" | "registry" | "stop">,
): Promise<TestCell> {
  const { registry } = cell;
  const log = createLogger(name, "silent");
  const server = await serve({
    fetch: cell.app.fetch,
    host: "127.0.0.1",
    port: 0,
    log,
    requestTimeoutMs: 60_000,
    drainDelayMs: 0,
    drainTimeoutMs: 5_000,
    close: () => cell.stop(),
  });
  const document = await cell.document();
  const check = responseChecker(document);
  return {
    url: server.url,
    registry,
    document,
    client(tenantId, principal = {}) {
      const { permissions } = cell;
      const everything: Principal = { tenantId, userId: "user-001", actorType: "user", permissions, scope: "tenant" };
      return testClient(name, server.url, check, { ...everything, ...principal });
    },
    async metrics() {
      const response = await fetch(`${server.url}/metrics`, { headers: { authorization: `Bearer ${testMetricsToken}` } });
      if (response.status !== 200) throw new Error(`no metrics: ${response.status}`);
      return response.text();
    },
    async tenant() {
      const tenantId = `t-${randomBytes(6).toString("hex")}`;
      await registry.provision(tenantId);
      return tenantId;
    },
    stop: () => server.stop(),
  };
}

type Check = (method: string, path: string, response: SeenResponse) => void;

function testClient(cell: string, url: string, check: Check, principal: Principal): TestClient {
  const headersOf = (key?: string): Record<string, string> => {
    const requestId = key ?? `req-${randomBytes(8).toString("hex")}`;
    const caller = { principal, requestId, requestIdIsKey: key !== undefined };
    const assertion = signAssertion(testAssertionKeys, cell, caller, Math.floor(Date.now() / 1000));
    return { "x-cell-assertion": assertion, "x-request-id": requestId, "x-tenant-id": principal.tenantId };
  };
  const send = async (method: string, path: string, request: TestRequest = {}): Promise<TestResponse> => {
    const body = request.raw ?? (request.body === undefined ? undefined : JSON.stringify(request.body));
    const response = await fetch(url + path, {
      method,
      headers: {
        ...headersOf(request.key),
        ...(request.body === undefined ? {} : { "content-type": "application/json" }),
        ...request.headers,
      },
      ...(body === undefined ? {} : { body: body as string | Uint8Array<ArrayBuffer> }),
    });
    const text = await response.text();
    const contentType = response.headers.get("content-type") ?? "";
    const parsed = contentType.startsWith("application/json") && text !== "" ? JSON.parse(text) : undefined;
    check(method, new URL(response.url).pathname, { status: response.status, headers: response.headers, body: parsed });
    return { status: response.status, headers: response.headers, text, body: parsed };
  };
  return {
    principal,
    headers: headersOf,
    send,
    get: (path, request) => send("GET", path, request),
    post: (path, request) => send("POST", path, request),
    patch: (path, request) => send("PATCH", path, request),
    delete: (path, request) => send("DELETE", path, request),
  };
}
