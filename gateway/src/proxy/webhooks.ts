import type { IncomingHttpHeaders, IncomingMessage } from "node:http";
import { type AssertionKeys, type Principal, type RoutePolicy, signAssertion } from "@cell/http";
import { notFound, Problem, unavailable } from "@cell/problem";
import { clientAddress, type TrustedProxies } from "../auth/client-address.ts";
import type { FailedAttempts } from "../auth/failed-attempts.ts";
import type { RequestId } from "../auth/request-identity.ts";
import type { TenantAccess } from "../auth/tenant-access.ts";
import type { Bulkhead } from "../upstream/bulkhead.ts";
import type { Upstreams } from "../upstream/upstreams.ts";
import type { UpstreamRequest } from "./http1/connection.ts";
import { readBody, readWhole, type Upload } from "./request-body.ts";
import { requestHeaders } from "./request-headers.ts";
import type { Target } from "./route-target.ts";

/** A request of a webhook sender, its body byte for byte. */
export interface WebhookRequest {
  method: string;
  headers: IncomingHttpHeaders;
  query: URLSearchParams;
  body: Buffer;
}

/** The part of a webhook's body for one tenant. */
export interface WebhookDelivery {
  tenantId: string;
  body: Buffer;
}

/** Verifies the signed webhooks of one sender. */
export interface WebhookVerifier {
  /** Its name in the routes' `webhook`. */
  readonly name: string;
  /** Responds, as text, to a GET by which the sender verifies the address. Throws UNAUTHORIZED. Absent: there is no such GET. */
  challenge?(request: WebhookRequest): string;
  /** What each tenant receives; empty if no tenant is concerned. Rejects with UNAUTHORIZED for an invalid signature. */
  verify(request: WebhookRequest): Promise<readonly WebhookDelivery[]>;
}

export interface WebhooksOptions {
  verifiers: readonly WebhookVerifier[];
  attempts: FailedAttempts;
  tenantAccess: TenantAccess;
  upstreams: Upstreams;
  assertionKeys: AssertionKeys;
  trustedProxies: TrustedProxies;
  headersMs: number;
}

interface TextResponse {
  status: number;
  headers: string[];
  body: string;
}

/** Receives signed webhooks: verifies each over its raw bytes, and passes it to the cell for every tenant in it. */
export class Webhooks {
  readonly #options: WebhooksOptions;
  readonly #verifiers: ReadonlyMap<string, WebhookVerifier>;

  constructor(options: WebhooksOptions) {
    this.#options = options;
    this.#verifiers = new Map(options.verifiers.map((verifier) => [verifier.name, verifier]));
  }

  /**
   * 200 after the cell has stored the webhook for every tenant. Rejects with UNAUTHORIZED before anything is stored, and with UNAVAILABLE
   * if one tenant's part is not stored: the sender then sends the whole webhook again.
   */
  async receive(
    { webhook = "", bodyLimitBytes }: RoutePolicy,
    incoming: IncomingMessage,
    target: Target,
    id: RequestId,
  ): Promise<TextResponse> {
    const { attempts, trustedProxies } = this.#options;
    const verifier = this.#verifiers.get(webhook);
    if (!verifier) throw unavailable(`The gateway has no verifier of the name ${webhook}`);
    const address = clientAddress(incoming, trustedProxies);
    attempts.check(address);
    const { method = "", headers } = incoming;
    const query = new URLSearchParams(target.query);
    try {
      if (method === "GET") {
        if (!verifier.challenge) throw notFound("Page");
        return textResponse(verifier.challenge({ method, headers, query, body: Buffer.alloc(0) }));
      }
      const body = await bodyOf(incoming, bodyLimitBytes);
      const deliveries = await verifier.verify({ method, headers, query, body });
      await Promise.all(deliveries.map((delivery) => this.#deliver(delivery, incoming, target, id, { webhook, address })));
      return textResponse("");
    } catch (error) {
      if (error instanceof Problem && error.code === "UNAUTHORIZED") attempts.failed(address);
      throw error;
    }
  }

  async #deliver(
    { tenantId, body }: WebhookDelivery,
    incoming: IncomingMessage,
    target: Target,
    id: RequestId,
    { webhook, address }: { webhook: string; address: string },
  ): Promise<void> {
    const { tenantAccess, upstreams, assertionKeys, headersMs } = this.#options;
    const access = await tenantAccess.find("webhook", `webhook:${webhook}`, tenantId);
    const url = access?.placements.get(target.cell);
    if (access === undefined || url === undefined) throw unavailable("A tenant of this webhook is not placed in the service yet", 60);
    const principal: Principal = access.principal;
    const assertion = signAssertion(assertionKeys, target.cell, { principal, ...id }, Math.floor(Date.now() / 1000));
    const headers = requestHeaders(incoming, { address, requestId: id.requestId, assertion }, ["content-type", "user-agent"]);
    const request: UpstreamRequest = {
      method: incoming.method ?? "",
      path: target.path,
      headers: [...headers, "x-tenant-id", tenantId],
      headersMs,
      body,
    };
    const status = await statusOf(upstreams.get(url).requests, tenantId, request);
    if (status === 421) await tenantAccess.refresh(access);
    if (status >= 300) throw unavailable("The service did not accept the webhook; send it again");
  }
}

function textResponse(body: string): TextResponse {
  return { status: 200, headers: ["content-type", "text/plain; charset=utf-8"], body };
}

async function bodyOf(incoming: IncomingMessage, limitBytes: number): Promise<Buffer> {
  const body = readBody(incoming, limitBytes);
  if (body === undefined) return Buffer.alloc(0);
  if (body === "whole") return new Promise((resolve) => readWhole(incoming, resolve));
  const chunks: Buffer[] = [];
  for await (const chunk of body satisfies Upload) chunks.push(chunk);
  return Buffer.concat(chunks);
}

/** Sends a request within a bulkhead; resolves to the status of its response, whose body is dropped. Rejects with UNAVAILABLE. */
function statusOf(bulkhead: Bulkhead, tenantId: string, request: UpstreamRequest): Promise<number> {
  const rejection = bulkhead.rejection(tenantId);
  if (rejection) throw rejection;
  return new Promise((resolve, reject) => {
    let status = 0;
    const finish = () => {
      bulkhead.release(permit, false);
      resolve(status);
    };
    const permit = bulkhead.enter(tenantId, () => {
      const connection = bulkhead.pool.send(request, {
        onRequestSent() {},
        onResponseStart(head) {
          bulkhead.answered();
          status = head.status;
        },
        onResponseBody: finish,
        onResponseData: () => connection.resume(),
        onResponseEnd: finish,
        onResponseError(error) {
          bulkhead.release(permit, false);
          reject(unavailable("The service is not reachable for a moment; send the webhook again", 1, error));
        },
      });
    });
  });
}
