import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { type AssertionKeys, type Caller, parseAssertionKeys, sendProblem, toProblem, verifyAssertion } from "@cell/http";

/** What the gateways and cells of one test file sign and verify with. */
export const assertionKeys = `test:${"k".repeat(43)}`;

/** A cell of the tests: real HTTP, assertions verified, tenants provisioned; the rest is up to each test. */
export interface TestCell {
  url: string;
  /** What its tenants are, in the order of provisioning. */
  tenants: Set<string>;
  /** Answers /internal/tenants with 500 while true. */
  failing: boolean;
  /** What it verifies assertions with; as after a restart with other settings. */
  keys: AssertionKeys;
  /** What it has been asked, but for /internal. */
  requests: { method: string; url: string; headers: IncomingMessage["headers"]; caller: Caller }[];
  /** What /ready answers. */
  ready: { status: number; body: object };
  /** Answers by path without its query; the default echoes. */
  on(path: string, handler: (incoming: IncomingMessage, outgoing: ServerResponse) => void): void;
  close(): Promise<void>;
}

export async function startTestCell(name = "crm"): Promise<TestCell> {
  const handlers = new Map<string, (incoming: IncomingMessage, outgoing: ServerResponse) => void>();
  const server = createServer((incoming, outgoing) => {
    const { url = "", method = "", headers } = incoming;
    if (url === "/openapi.json") {
      reply(outgoing, 200, { openapi: "3.1.0", info: { title: name, version: "1" }, servers: [{ url: "/" }], paths: {} });
    } else if (url === "/health") {
      reply(outgoing, 200, { status: "ok" });
    } else if (url === "/ready") {
      reply(outgoing, cell.ready.status, cell.ready.body);
    } else {
      const [assertion, requestId] = [headers["x-cell-assertion"] as string, headers["x-request-id"] as string];
      let caller: Caller;
      try {
        caller = verifyAssertion(cell.keys, name, assertion, requestId, Date.now() / 1000);
      } catch (error) {
        sendProblem(outgoing, toProblem(error), requestId);
        return;
      }
      if (url.startsWith("/internal/tenants/")) administer(cell, caller, method, url, outgoing);
      else response(incoming, outgoing, caller);
    }
  });
  function response(incoming: IncomingMessage, outgoing: ServerResponse, caller: Caller): void {
    const { url = "", method = "", headers } = incoming;
    cell.requests.push({ method, url, headers, caller });
    const handler = handlers.get(url.replace(/\?.*/, ""));
    if (handler) {
      handler(incoming, outgoing);
      return;
    }
    incoming.resume();
    incoming.on("end", () => reply(outgoing, 200, { url, method, caller }));
  }
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const cell: TestCell = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    tenants: new Set(),
    failing: false,
    keys: parseAssertionKeys(assertionKeys),
    requests: [],
    ready: { status: 200, body: { status: "ready" } },
    on: (path, handler) => handlers.set(path, handler),
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
  return cell;
}

function administer(cell: TestCell, { principal }: Caller, method: string, url: string, outgoing: ServerResponse): void {
  const tenantId = url.slice("/internal/tenants/".length);
  let status = 200;
  if (!principal.permissions.includes("cell:admin") || principal.tenantId !== tenantId) status = 403;
  else if (cell.failing) status = 500;
  else if (method === "PUT") cell.tenants.add(tenantId);
  else if (!cell.tenants.delete(tenantId)) status = 404;
  reply(outgoing, status, { tenantId });
}

/** A JSON answer. */
export function reply(outgoing: ServerResponse, status: number, body: unknown): void {
  const text = JSON.stringify(body);
  outgoing.writeHead(status, { "content-type": "application/json", "content-length": Buffer.byteLength(text) });
  outgoing.end(text);
}
