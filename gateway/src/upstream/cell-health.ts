import { text } from "node:stream/consumers";
import { Problem, unavailable } from "@cell/problem";
import type { CellConfig } from "../config.ts";
import type { CellHttp } from "./cell-http.ts";

/** The health response of a cell. */
export interface HealthResponse {
  status: number;
  /** Names and values alternating. */
  headers: string[];
  body: string;
}

const openPaths = /^\/(?:health|ready)\/?$/;
const passedHeaders = ["content-type", "retry-after"];
const timeoutMs = 1_000;
/** Requests without a token cannot make a cell respond more often than this. */
const sharedMs = 1_000;

/** Health and readiness of the cells, for callers without a token; independent of tenants. */
export class CellHealth {
  readonly #cellHttp: CellHttp;
  readonly #cells: ReadonlyMap<string, CellConfig>;
  readonly #responses = new Map<string, { askedAtMs: number; response: Promise<HealthResponse> }>();

  constructor(cells: readonly CellConfig[], cellHttp: CellHttp) {
    this.#cells = new Map(cells.map((cell) => [cell.name, cell]));
    this.#cellHttp = cellHttp;
  }

  /** Whether a request to a cell is a health request. */
  static isOpen(method: string | undefined, path: string): boolean {
    // No longer path is one: most requests need no pattern.
    return path.length <= 8 && (method === "GET" || method === "HEAD") && openPaths.test(path);
  }

  /** The health of a cell; the worst one of several partitions. Rejects with UNAVAILABLE if one is not reachable or not ready. */
  read(cell: string, path: string): Promise<HealthResponse> {
    const asked = path.replace(/\/$/, "");
    const key = cell + asked;
    const nowMs = performance.now();
    const known = this.#responses.get(key);
    if (known && nowMs - known.askedAtMs < sharedMs) return known.response;
    const urls = this.#cells.get(cell)?.urls ?? [];
    const response = Promise.all(urls.map((url) => this.#ask(url, asked))).then(worst);
    this.#responses.set(key, { askedAtMs: nowMs, response });
    return response;
  }

  async #ask(url: string, path: string): Promise<HealthResponse> {
    const response = await this.#received(url, path);
    if (response.status !== 200) throw notReady(response);
    return response;
  }

  async #received(url: string, path: string): Promise<HealthResponse> {
    try {
      const response = await this.#cellHttp.send(url, { path, silentMs: timeoutMs });
      const headers = passedHeaders.flatMap((name) => [response.headers[name]].flatMap((value) => (value ? [name, String(value)] : [])));
      return { status: Number(response.statusCode), headers, body: await text(response) };
    } catch (error) {
      throw unavailable("The service is not reachable for a moment; try again", 1, error);
    }
  }
}

/** Turns a cell's unready response into a problem: its body names the cell's request, and callers share it. */
function notReady({ body }: HealthResponse): Problem {
  const { message, headers } = unavailable("The service is not ready; try again");
  const said = problemIn(body);
  return new Problem("UNAVAILABLE", said.message ?? message, {
    ...(said.details && { details: said.details }),
    ...(headers && { headers }),
  });
}

function problemIn(body: string): { message?: string; details?: Record<string, unknown> } {
  try {
    const { message, details } = JSON.parse(body) as Record<string, unknown>;
    return {
      ...(typeof message === "string" ? { message } : {}),
      ...(typeof details === "object" && details ? { details: details as Record<string, unknown> } : {}),
    };
  } catch {
    return {};
  }
}

function worst(responses: HealthResponse[]): HealthResponse {
  const badness = ({ body }: HealthResponse) => Number(/"degraded":\s*true/.test(body));
  return responses.reduce((worse, response) => (badness(response) > badness(worse) ? response : worse));
}
