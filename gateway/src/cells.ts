import { newRequestId, type Principal, signAssertion } from "@cell/http";
import { unavailable } from "@cell/problem";
import type { Config } from "./config.ts";
import type { Upstreams } from "./upstreams.ts";

/** A partition of a cell, as far as speaking to it goes. */
export interface PartitionAddress {
  cell: string;
  url: string;
}

/** What the gateway itself asks of the cells. */
export class Cells {
  readonly #config: Config;
  readonly #upstreams: Upstreams;

  constructor(config: Config, upstreams: Upstreams) {
    this.#config = config;
    this.#upstreams = upstreams;
  }

  /** Makes a tenant's schema in a cell; nothing happens when it is there. Rejects with UNAVAILABLE. */
  async provision(partition: PartitionAddress, tenantId: string): Promise<void> {
    await this.#administer(partition, tenantId, "PUT");
  }

  /** Drops a tenant's data in a cell for good; nothing happens when there is none. Rejects with UNAVAILABLE. */
  async drop(partition: PartitionAddress, tenantId: string): Promise<void> {
    await this.#administer(partition, tenantId, "DELETE");
  }

  /** Whether a partition says that it is alive. */
  async isHealthy(url: string): Promise<boolean> {
    try {
      const { statusCode, body } = await this.#upstreams
        .get(url)
        .requests.pool.request({ path: "/health", method: "GET", headersTimeout: 1_000 });
      await body.dump();
      return statusCode === 200;
    } catch {
      return false;
    }
  }

  /** A cell's own OpenAPI document. Rejects with UNAVAILABLE. */
  async openapi(url: string): Promise<Record<string, unknown>> {
    const { statusCode, body } = await this.#request(url, "GET", "/openapi.json", {});
    if (statusCode !== 200) throw unavailable("The service does not show its document now; try again");
    return JSON.parse(body) as Record<string, unknown>;
  }

  async #administer({ cell, url }: PartitionAddress, tenantId: string, method: "PUT" | "DELETE"): Promise<void> {
    const requestId = newRequestId();
    const principal: Principal = { tenantId, userId: "operator", actorType: "operator", permissions: ["cell:admin"], scope: "tenant" };
    const caller = { principal, requestId, requestIdIsKey: false };
    const assertion = signAssertion(this.#config.assertionKeys, cell, caller, Math.floor(Date.now() / 1000));
    const headers = { "x-cell-assertion": assertion, "x-request-id": requestId, "x-tenant-id": tenantId };
    const { statusCode } = await this.#request(url, method, `/internal/tenants/${tenantId}`, headers);
    const done = statusCode < 300 || (method === "DELETE" && statusCode === 404);
    if (!done) throw unavailable(`The service ${cell} answered ${statusCode}; send the request again to finish`);
  }

  async #request(url: string, method: "GET" | "PUT" | "DELETE", path: string, headers: Record<string, string>) {
    try {
      const { statusCode, body } = await this.#upstreams.get(url).requests.pool.request({ path, method, headers, headersTimeout: 30_000 });
      return { statusCode, body: await body.text() };
    } catch (error) {
      throw unavailable("A service is away for a moment; send the request again to finish", 1, error);
    }
  }
}
