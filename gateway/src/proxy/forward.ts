import type { IncomingMessage, ServerResponse } from "node:http";
import { closedPolicy, type Logger, methodNotAllowed, type RoutePolicy, signAssertion } from "@cell/http";
import { badField, notFound, unavailable } from "@cell/problem";
import type { RequestId } from "../auth/request-identity.ts";
import type { Config } from "../config.ts";
import type { OpenStreams } from "../limits/open-streams.ts";
import type { GatewayMetrics } from "../metrics.ts";
import { CellHealth } from "../upstream/cell-health.ts";
import type { CellDeclarations } from "../upstream/declarations.ts";
import type { Upstreams } from "../upstream/upstreams.ts";
import type { Admission, Admitted } from "./admission.ts";
import type { UpstreamRequest } from "./http1/connection.ts";
import { type ForwardedRoute, ProxiedRequest } from "./proxied-request.ts";
import type { FindPartition } from "./relocation.ts";
import { readBody, readWhole, Upload } from "./request-body.ts";
import { requestHeaders } from "./request-headers.ts";
import type { Target } from "./route-target.ts";
import type { Webhooks } from "./webhooks.ts";

export interface ForwardOptions {
  config: Config;
  declarations: CellDeclarations;
  admission: Admission;
  openStreams: OpenStreams;
  findPartition: FindPartition;
  upstreams: Upstreams;
  webhooks: Webhooks;
  metrics: GatewayMetrics;
  log: Logger;
}

/** Forwards a request to a cell; always responds. */
export type Forward = (incoming: IncomingMessage, outgoing: ServerResponse, target: Target, id: RequestId) => void;

const methods = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/** Creates the function that authenticates a request, finds its tenant's partition and forwards it. */
export function createForward(options: ForwardOptions): Forward {
  const { config, declarations, admission, openStreams, findPartition, upstreams, webhooks, metrics, log } = options;
  const { timeouts, assertionKeys } = config;
  const cellHealth = new CellHealth(config.cells, upstreams.cellHttp);
  const relocate = async (route: ForwardedRoute) => upstreams.get(await findPartition(route))[route.bulkhead];

  function send(proxied: ProxiedRequest, incoming: IncomingMessage, target: Target, policy: RoutePolicy, admitted: Admitted): void {
    const { access, token, caller, address, query } = admitted;
    const { cell } = target;
    proxied.limitHeaders = admitted.limitHeaders;
    const url = access.placements.get(cell);
    if (url === undefined) throw noPlace();
    const body = readBody(incoming, policy.bodyLimitBytes);
    const bulkheadName = policy.bulkhead === "requests" && body instanceof Upload ? "streams" : policy.bulkhead;
    const bulkhead = upstreams.get(url)[bulkheadName];
    proxied.route = { access, token, cell, bulkhead: bulkheadName };
    if (bulkheadName === "events")
      proxied.holdWhileOpen(openStreams.enter({ kind: "events", access, token, cell, url, ...ends(access, proxied) }));
    const { tenantId } = caller.principal;
    const assertion = signAssertion(assertionKeys, cell, caller, Math.floor(Date.now() / 1000));
    const request: UpstreamRequest = {
      path: target.path + query,
      method: incoming.method ?? "",
      headers: requestHeaders(incoming, { address, requestId: caller.requestId, assertion }),
      headersMs: policy.slow ? timeouts.slowHeadersMs : timeouts.headersMs,
      body: undefined,
    };
    if (body === undefined) {
      proxied.send(bulkhead, tenantId, request);
    } else if (body instanceof Upload) {
      proxied.send(bulkhead, tenantId, { ...request, body, length: body.length });
    } else {
      // Checked again once the body has arrived; a body that is rejected now is not worth reading.
      const rejection = bulkhead.rejection(tenantId);
      if (rejection) throw rejection;
      readWhole(incoming, (bytes) => proxied.send(bulkhead, tenantId, { ...request, body: bytes }));
    }
  }

  /** What a request goes through once the policy of its route is known. */
  function dispatch(proxied: ProxiedRequest, incoming: IncomingMessage, target: Target, policy: RoutePolicy, id: RequestId): void {
    if (policy.webhook !== undefined) {
      respond(proxied, webhooks.receive(policy, incoming, target, id));
      return;
    }
    const proceed = (admitted: Admitted) => {
      if (!proxied.abandoned) send(proxied, incoming, target, policy, admitted);
    };
    const admitted = admission.admit(incoming, target, policy, id);
    if (admitted instanceof Promise) admitted.then(proceed).catch((error) => proxied.fail(error));
    else proceed(admitted);
  }

  /** A cell that has just started may be known a moment later. */
  async function dispatchOnceDeclared(proxied: ProxiedRequest, incoming: IncomingMessage, target: Target, id: RequestId): Promise<void> {
    await declarations.askNow(target.cell);
    const declared = declarations.get(target.cell);
    if (!declared?.isKnown) throw unavailable("The service is not reachable for a moment; try again");
    dispatch(proxied, incoming, target, declared.policies.of(incoming.method ?? "", target.decodedPath), id);
  }

  return function forward(incoming, outgoing, target, id) {
    const { method = "" } = incoming;
    const declared = declarations.get(target.cell);
    const policy = declared?.policies.of(method, target.decodedPath) ?? closedPolicy;
    const { requestId } = id;
    const { pattern } = target;
    const proxied = new ProxiedRequest({ incoming, outgoing, requestId, pattern, errorForm: policy.errorForm, relocate, metrics, log });
    try {
      if (!methods.includes(method)) throw methodNotAllowed(methods);
      if (!declared) throw notFound("Service");
      if (incoming.headers.upgrade !== undefined) refuseWebSocket(incoming.headers.upgrade);
      if (CellHealth.isOpen(method, target.path)) respond(proxied, cellHealth.read(target.cell, target.path));
      else if (declared.isKnown) dispatch(proxied, incoming, target, policy, id);
      else dispatchOnceDeclared(proxied, incoming, target, id).catch((error) => proxied.fail(error));
    } catch (error) {
      proxied.fail(error);
    }
  };
}

function respond(proxied: ProxiedRequest, response: Promise<Parameters<ProxiedRequest["respond"]>[0]>): void {
  response.then(
    (content) => proxied.respond(content),
    (error) => proxied.fail(error),
  );
}

/** 503 for a tenant without a placement in the cell. */
export function noPlace() {
  return unavailable("This tenant is not placed in this service yet", 60);
}

function ends({ expiresAtMs }: Admitted["access"], proxied: ProxiedRequest) {
  return { expiresAtMs, end: () => proxied.end() };
}

/** A plain response would not tell a WebSocket client why it has no socket; other upgrades are optional and may be ignored. */
function refuseWebSocket(upgrade: string): void {
  if (/\bwebsocket\b/i.test(upgrade)) throw badField("Upgrade", "NOT_SUPPORTED", "there is no WebSocket here; leave this header out");
}
