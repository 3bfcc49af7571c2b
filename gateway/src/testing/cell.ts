import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { Duplex } from "node:stream";
import {
  type AssertionKeys,
  type Caller,
  type CellDeclaration,
  declarationPath,
  parseAssertionKeys,
  sendProblem,
  toProblem,
  verifyAssertion,
} from "@cell/http";

/** The keys with which the gateways and cells of one test file sign and verify. */
export const assertionKeys = `test:${"k".repeat(43)}`;

const permissions = ["crm:read", "crm:write", "crm:import", "crm:export", "report:read"] as const;
const longTransfer = { slow: true, bulkhead: "streams" } as const;

/** The test cells' declaration, unless a test sets another. */
export const testDeclaration: CellDeclaration = {
  permissions,
  roles: {
    admin: permissions,
    manager: permissions,
    sales: ["crm:read", "crm:write", "crm:export", "report:read"],
    auditor: ["crm:read", "crm:export", "report:read"],
    integrator: ["crm:read", "crm:write", "crm:import", "crm:export"],
  },
  routes: [
    { method: "POST", path: "/{resource}/import", policy: { ...longTransfer, bodyLimitBytes: 64 * 1024 * 1024 } },
    { method: "GET", path: "/{resource}/export", policy: longTransfer },
    { method: "GET", path: "/events", policy: { bulkhead: "events" } },
  ],
};

/** A test cell: real HTTP, verified assertions, provisioned tenants; tests add the rest. */
export interface TestCell {
  url: string;
  /** Its tenants, in the order of provisioning. */
  tenants: Set<string>;
  /** Responds with 500 to /internal/tenants while true. */
  failing: boolean;
  /** The keys for assertions; can be changed as by a restart with other settings. */
  keys: AssertionKeys;
  /** The received requests, without those to /internal. */
  requests: { method: string; url: string; headers: IncomingMessage["headers"]; caller: Caller }[];
  /** Its declaration to the gateway; undefined for a cell that serves none. */
  declaration: CellDeclaration | undefined;
  /** Response of /ready. */
  ready: { status: number; body: object };
  /** Handlers by path without its query; default: echoes. */
  on(path: string, handler: (incoming: IncomingMessage, outgoing: ServerResponse) => void): void;
  /** Accepts upgrades with a valid assertion; without it there are none. */
  onUpgrade: ((incoming: IncomingMessage, socket: Duplex, caller: Caller) => void) | undefined;
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
      if (url === declarationPath) {
        const isServed = cell.declaration !== undefined && caller.principal.permissions.includes("cell:admin");
        reply(outgoing, isServed ? 200 : 404, cell.declaration ?? {});
      } else if (url.startsWith("/internal/tenants/")) administer(cell, caller, method, url, outgoing);
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
  server.on("upgrade", (incoming, socket) => {
    const { url = "", method = "", headers } = incoming;
    const caller = verifyAssertion(
      cell.keys,
      name,
      headers["x-cell-assertion"] as string,
      headers["x-request-id"] as string,
      Date.now() / 1000,
    );
    cell.requests.push({ method, url, headers, caller });
    socket.on("error", () => socket.destroy());
    cell.onUpgrade?.(incoming, socket, caller);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const cell: TestCell = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    tenants: new Set(),
    failing: false,
    keys: parseAssertionKeys(assertionKeys),
    requests: [],
    declaration: testDeclaration,
    ready: { status: 200, body: { status: "ready" } },
    on: (path, handler) => handlers.set(path, handler),
    onUpgrade: undefined,
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

/** Sends a JSON response. */
export function reply(outgoing: ServerResponse, status: number, body: unknown): void {
  const text = JSON.stringify(body);
  outgoing.writeHead(status, { "content-type": "application/json", "content-length": Buffer.byteLength(text) });
  outgoing.end(text);
}
