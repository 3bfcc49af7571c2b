import { bodyOf, parseInput, parseQuery, queryOf, readBody } from "@cell/http/endpoint/input";
import { type HttpEnv, routePattern } from "@cell/http/endpoint/router";
import type { Context, Hono } from "hono";
import type { Services } from "../services.ts";
import { authenticate, ownTenantOf } from "./access.ts";
import type { AdminContext, AdminContextOf, AdminEndpoint, ResponseBodyOf } from "./endpoint.ts";
import { OwnRoutes } from "./own-routes.ts";

/** Size limit of a JSON body in bytes. */
const mostBodyBytes = 64 * 1024;

/** The only way to create routes of the administration, so that every route has all policies. */
export class AdminRoutes {
  /** Everything that is declared here, for the document. */
  readonly endpoints: AdminEndpoint[] = [];
  readonly #services: Services;
  readonly #own: OwnRoutes;

  constructor(services: Services) {
    this.#services = services;
    this.#own = new OwnRoutes(services, async (c) => {
      // Only callers with a token learn which paths exist.
      if (/^\/api\/admin(?:\/|$)/.test(c.req.path)) await authenticate(services, c.env.incoming);
    });
  }

  get app(): Hono<HttpEnv> {
    return this.#own.app;
  }

  /** Adds a path that needs no token and is no endpoint. `path` is in Hono's form. */
  open(path: string, handler: (c: Context<HttpEnv>) => Response | Promise<Response>): void {
    this.#own.get(path, handler);
  }

  /** Responds with the JSON of what `work` resolves to. */
  respond<E extends AdminEndpoint>(endpoint: E, work: (context: AdminContextOf<E>) => Promise<ResponseBodyOf<E>>): void {
    this.#add(endpoint, async (context) => {
      const body = await work(contextOf(endpoint, context));
      return context.context.json(body as object, endpoint.status);
    });
  }

  /** For handlers that make the response themselves. */
  stream<E extends AdminEndpoint>(endpoint: E, work: (context: AdminContextOf<E>) => Promise<Response>): void {
    this.#add(endpoint, (context) => work(contextOf(endpoint, context)));
  }

  #add(endpoint: AdminEndpoint, work: (context: AdminContext) => Promise<Response>): void {
    this.endpoints.push(endpoint);
    this.#own.add(endpoint.method.toUpperCase(), routePattern(endpoint.path), async (c) => work(await this.#context(c, endpoint)));
  }

  /** The request, after its policies in this order: authentication, rate limit, validation, permission. */
  async #context(c: Context<HttpEnv>, endpoint: AdminEndpoint): Promise<AdminContext> {
    const { incoming } = c.env;
    const access = await authenticate(this.#services, incoming);
    // A missing body is reported field by field.
    const input = { ...endpoint, bodyOptional: true };
    const bytes = await readBody(incoming, input, mostBodyBytes);
    return {
      params: endpoint.params && parseInput(endpoint.params, c.req.param()),
      query: endpoint.query && parseQuery(endpoint.query, queryOf(c)),
      body: bodyOf(input, bytes),
      access,
      ownTenantId: ownTenantOf(access, endpoint.callers),
      context: c,
    };
  }
}

/** The request as the endpoint's schemas have parsed it: `#context` does so before any handler runs. */
function contextOf<E extends AdminEndpoint>(_endpoint: E, context: AdminContext): AdminContextOf<E> {
  return context as AdminContextOf<E>;
}
