import type { IncomingMessage } from "node:http";
import { json as readJson, text } from "node:stream/consumers";
import { cellAdmin, declarationPath, newRequestId, type Principal, signAssertion } from "@cell/http";
import { Problem, type ProblemCode, statusOf, unavailable } from "@cell/problem";
import type { Config } from "../config.ts";
import type { CellHttp } from "./cell-http.ts";

/** The address of a partition. */
export interface PartitionAddress {
  cell: string;
  url: string;
}

/** A request to a cell about one of its tenants. */
export interface TenantRequest {
  method: "GET" | "POST";
  /** Below the tenant's path, with its query. */
  path: string;
  json?: object;
  body?: Buffer;
}

/** Copies, indexes and checks of large tenants take long. */
const tenantRequestTimeoutMs = 30 * 60_000;
const declarationTimeoutMs = 1_000;

/** The gateway's own requests to the cells. */
export class CellClient {
  readonly #config: Config;
  readonly #cellHttp: CellHttp;

  constructor(config: Config, cellHttp: CellHttp) {
    this.#config = config;
    this.#cellHttp = cellHttp;
  }

  /** Creates a tenant's schema in a cell; idempotent. Rejects with UNAVAILABLE. */
  async provision(partition: PartitionAddress, tenantId: string): Promise<void> {
    await this.#administer(partition, tenantId, "PUT");
  }

  /** Drops a tenant's data in a cell for good; idempotent. Rejects with UNAVAILABLE. */
  async drop(partition: PartitionAddress, tenantId: string): Promise<void> {
    await this.#administer(partition, tenantId, "DELETE");
  }

  /** A cell's own OpenAPI document. Rejects with UNAVAILABLE. */
  async openapi(url: string): Promise<Record<string, unknown>> {
    const { status, body } = await this.#request(url, "GET", "/openapi.json", {});
    if (status !== 200) throw unavailable("The service does not show its document now; try again");
    return JSON.parse(body) as Record<string, unknown>;
  }

  /** A partition's declaration as JSON text; undefined if it has none. Rejects with UNAVAILABLE. */
  async declaration({ cell, url }: PartitionAddress): Promise<string | undefined> {
    const { status, body } = await this.#request(url, "GET", declarationPath, this.#operatorHeaders(cell, ""), declarationTimeoutMs);
    if (status === 200) return body;
    if (status === 404) return undefined;
    throw unavailable(`The service ${cell} responded with ${status} instead of its declaration`);
  }

  /** The response to a request about a tenant, its body unread. Rejects with the cell's problem, or UNAVAILABLE. */
  async ask({ cell, url }: PartitionAddress, tenantId: string, { method, path, json, body }: TenantRequest): Promise<IncomingMessage> {
    const headers = this.#operatorHeaders(cell, tenantId);
    headers["content-type"] = json ? "application/json" : "application/octet-stream";
    const sent = json ? JSON.stringify(json) : body;
    const request = { path: `/internal/tenants/${tenantId}/${path}`, method, headers, silentMs: tenantRequestTimeoutMs };
    const response = await this.#cellHttp.send(url, { ...request, ...(sent === undefined ? {} : { body: sent }) }).catch((error) => {
      throw unavailable("A service is not reachable for a moment; try again", 1, error);
    });
    if (Number(response.statusCode) < 300) return response;
    const { code, message } = (await readJson(response)) as { code: ProblemCode; message: string };
    throw new Problem(code in statusOf ? code : "UNAVAILABLE", message);
  }

  #operatorHeaders(cell: string, tenantId: string): Record<string, string> {
    const requestId = newRequestId();
    const principal: Principal = { tenantId, userId: "operator", actorType: "operator", permissions: [cellAdmin], scope: "tenant" };
    const caller = { principal, requestId, requestIdIsKey: false };
    const assertion = signAssertion(this.#config.assertionKeys, cell, caller, Math.floor(Date.now() / 1000));
    return { "x-cell-assertion": assertion, "x-request-id": requestId, "x-tenant-id": tenantId };
  }

  async #administer({ cell, url }: PartitionAddress, tenantId: string, method: "PUT" | "DELETE"): Promise<void> {
    const headers = this.#operatorHeaders(cell, tenantId);
    const { status } = await this.#request(url, method, `/internal/tenants/${tenantId}`, headers);
    const done = status < 300 || (method === "DELETE" && status === 404);
    if (!done) throw unavailable(`The service ${cell} responded with ${status}; send the request again to finish`);
  }

  async #request(url: string, method: "GET" | "PUT" | "DELETE", path: string, headers: Record<string, string>, silentMs = 30_000) {
    try {
      const response = await this.#cellHttp.send(url, { path, method, headers, silentMs });
      return { status: Number(response.statusCode), body: await text(response) };
    } catch (error) {
      throw unavailable("A service is not reachable for a moment; send the request again to finish", 1, error);
    }
  }
}
