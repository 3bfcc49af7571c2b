import { METHOD_NAME_ALL, type Params, type Result, type Router, UnsupportedPathError } from "hono/router";
import { RegExpRouter } from "hono/router/reg-exp-router";

/**
 * Hono's RegExpRouter, which rejects `/customers/export` beside `/customers/:id`: paths without parameters are therefore looked up first,
 * and win.
 */
export class CellRouter<T> implements Router<T> {
  readonly name = "CellRouter";
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
