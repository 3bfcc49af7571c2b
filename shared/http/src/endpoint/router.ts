import { type Context, Hono } from "hono";
import { METHOD_NAME_ALL, type Params, type Result, type Router, UnsupportedPathError } from "hono/router";
import { RegExpRouter } from "hono/router/reg-exp-router";
import { methodNotAllowed } from "../render.ts";
import type { HttpBindings } from "../serve.ts";

/** Types of an application of endpoints, for Hono. */
export interface HttpEnv {
  Bindings: HttpBindings;
}

/**
 * Hono's RegExpRouter, which rejects `/customers/export` beside `/customers/:id`: paths without parameters are therefore looked up first,
 * and win.
 */
export class EndpointRouter<T> implements Router<T> {
  readonly name = "EndpointRouter";
  readonly #fixed = new Map<string, [T, Params][]>();
  readonly #variable = new RegExpRouter<T>();

  /** Adds a route; each names its method, so that a path has one handler. */
  add(method: string, path: string, handler: T): void {
    if (method === METHOD_NAME_ALL) throw new UnsupportedPathError(`${path} for all methods`);
    if (/[:*]/.test(path)) {
      this.#variable.add(method, path, handler);
      return;
    }
    const key = `${method} ${path}`;
    this.#fixed.set(key, [...(this.#fixed.get(key) ?? []), [handler, {}]]);
  }

  match(method: string, path: string): Result<T> {
    const fixed = this.#fixed.get(`${method} ${path}`);
    return fixed ? [fixed] : this.#variable.match(method, path);
  }
}

/**
 * An application without routes. `refuse` makes the response to an error that a route throws, to a path without a route (NOT_FOUND) and to
 * a method that the path does not take (METHOD_NOT_ALLOWED).
 */
export function endpointApp(refuse: (c: Context<HttpEnv>, error: unknown) => Response | Promise<Response>): Hono<HttpEnv> {
  const app = new Hono<HttpEnv>({ strict: false, router: new EndpointRouter() });
  app.notFound((c) => refuse(c, methodNotAllowed(allowedMethods(app, c.req.path))));
  app.onError((error, c) => refuse(c, error));
  return app;
}

/** The path of an endpoint as Hono writes it: `/customers/:id`. */
export function routePattern(path: string): string {
  return path.replace(/\{(\w+)\}/g, ":$1");
}

const methods = ["GET", "POST", "PUT", "PATCH", "DELETE"];

function allowedMethods(app: Hono<HttpEnv>, path: string): string[] {
  return methods.filter((method) => app.router.match(method, path)[0].length > 0);
}
