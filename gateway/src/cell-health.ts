import { text } from "node:stream/consumers";
import { unavailable } from "@cell/problem";
import type { Calls } from "./calls.ts";
import type { CellConfig } from "./config.ts";

/** What a cell says of itself. */
export interface HealthAnswer {
  status: number;
  /** Names and values in turn. */
  headers: string[];
  body: string;
}

const openPaths = /^\/(?:health|ready)\/?$/;
const passedHeaders = ["content-type", "retry-after"];
const timeoutMs = 1_000;
/** Whoever asks without a token cannot make a cell answer more often than this. */
const sharedMs = 1_000;

/** Health and readiness of the cells, for callers without a token: they belong to no tenant. */
export class CellHealth {
  readonly #calls: Calls;
  readonly #cells: ReadonlyMap<string, CellConfig>;
  readonly #answers = new Map<string, { askedAtMs: number; answer: Promise<HealthAnswer> }>();

  constructor(cells: readonly CellConfig[], calls: Calls) {
    this.#cells = new Map(cells.map((cell) => [cell.name, cell]));
    this.#calls = calls;
  }

  /** Whether a request to a cell is one of these. */
  static isOpen(method: string | undefined, path: string): boolean {
    // No longer path is one: most requests need no pattern.
    return path.length <= 8 && (method === "GET" || method === "HEAD") && openPaths.test(path);
  }

  /** The answer of a cell; of several partitions the worst one. Rejects with UNAVAILABLE when one is not reached. */
  read(cell: string, path: string): Promise<HealthAnswer> {
    const asked = path.replace(/\/$/, "");
    const key = cell + asked;
    const nowMs = performance.now();
    const known = this.#answers.get(key);
    if (known && nowMs - known.askedAtMs < sharedMs) return known.answer;
    const urls = this.#cells.get(cell)?.urls ?? [];
    const answer = Promise.all(urls.map((url) => this.#ask(url, asked))).then(worst);
    this.#answers.set(key, { askedAtMs: nowMs, answer });
    return answer;
  }

  async #ask(url: string, path: string): Promise<HealthAnswer> {
    try {
      const answer = await this.#calls.send(url, { path, silentMs: timeoutMs });
      const headers = passedHeaders.flatMap((name) => [answer.headers[name]].flatMap((value) => (value ? [name, String(value)] : [])));
      return { status: Number(answer.statusCode), headers, body: await text(answer) };
    } catch (error) {
      throw unavailable("The service is away for a moment; try again", 1, error);
    }
  }
}

function worst(answers: HealthAnswer[]): HealthAnswer {
  const badness = ({ status, body }: HealthAnswer) => (status === 200 ? Number(/"degraded":\s*true/.test(body)) : 2);
  return answers.reduce((worse, answer) => (badness(answer) > badness(worse) ? answer : worse));
}
