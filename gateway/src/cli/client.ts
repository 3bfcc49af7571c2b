import type { Readable } from "node:stream";
import { Agent, type Dispatcher, request } from "undici";
import { createClient, type Client as TypedClient } from "../../../openapi/client/client/index.ts";
import type { Problem } from "../../../openapi/client/index.ts";

/** A call that failed, with a message for the user. */
export class ApiError extends Error {
  readonly code: string | undefined;
  readonly requestId: string | undefined;

  constructor(message: string, details: { code?: string; requestId?: string; cause?: unknown } = {}) {
    super(message, { cause: details.cause });
    this.code = details.code;
    this.requestId = details.requestId;
  }
}

export interface ApiRequest {
  method?: Dispatcher.HttpMethod;
  path: string;
  /** Parameters without a value are omitted. */
  query?: Record<string, string | undefined>;
  headers?: Record<string, string>;
  json?: unknown;
  body?: Readable | Buffer;
  /** Time limit of the response's head, instead of two minutes. */
  patienceMs?: number;
}

/** The options of every call through the typed client. */
export interface TypedOptions {
  client: TypedClient;
  headers: { "X-Tenant-Id": string };
}

interface TypedResponse<T> {
  data: T | undefined;
  error: unknown;
  response?: Response | undefined;
}

// Imports and exports may be silent for long.
const dispatcher = new Agent({ headersTimeout: 130_000, bodyTimeout: 120_000 });

/** Calls the gateway with one key. */
export class Client {
  readonly #gateway: string;
  readonly #headers: Record<string, string>;

  constructor(gateway: string, key: string | undefined, tenantId?: string) {
    if (key === undefined) throw new ApiError("No key: give --key, set CRM_KEY, or start the system here with npm start");
    this.#gateway = gateway;
    this.#headers = { authorization: `Bearer ${key}`, ...(tenantId === undefined ? {} : { "X-Tenant-Id": tenantId }) };
  }

  /** The JSON of a successful response. Rejects with an ApiError. */
  async json<T>(request: ApiRequest): Promise<T> {
    const { body } = await this.stream(request);
    return (await body.json()) as T;
  }

  /** The data of a call through the typed client of the CRM. Rejects with an ApiError. */
  async typed<T>(request: (options: TypedOptions) => Promise<TypedResponse<T>>): Promise<T> {
    const client = createClient({ baseUrl: `${this.#gateway}/api/v1/crm` });
    const { data, error, response } = await request({ client, headers: { "X-Tenant-Id": "", ...this.#headers } });
    if (data !== undefined) return data;
    if (!response) throw unreachable(this.#gateway, error as Error);
    const { code, message } = error as Problem;
    throw new ApiError(message, { code, requestId: response.headers.get("x-request-id") ?? "" });
  }

  /** A successful response, its body unread. Rejects with an ApiError. */
  async stream(call: ApiRequest): Promise<Dispatcher.ResponseData> {
    const url = new URL(this.#gateway + call.path);
    for (const [name, value] of Object.entries(call.query ?? {})) if (value !== undefined) url.searchParams.set(name, value);
    const json = call.json === undefined ? undefined : JSON.stringify(call.json);
    const headers = { ...this.#headers, ...(json === undefined ? {} : { "content-type": "application/json" }), ...call.headers };
    const method = call.method ?? (json === undefined && call.body === undefined ? "GET" : "POST");
    const patience = call.patienceMs === undefined ? {} : { headersTimeout: call.patienceMs, bodyTimeout: call.patienceMs };
    const response = await request(url, { method, headers, body: json ?? call.body ?? null, dispatcher, ...patience }).catch((error) => {
      throw unreachable(this.#gateway, error);
    });
    if (response.statusCode >= 300) throw await errorFrom(response);
    return response;
  }
}

function unreachable(gateway: string, error: Error & { code?: string }): ApiError {
  const why = error.code === "ECONNREFUSED" ? "nothing listens there" : error.message || error.code || "unknown fault";
  return new ApiError(`${gateway} cannot be reached: ${why}`, { cause: error });
}

async function errorFrom({ statusCode, headers, body }: Dispatcher.ResponseData): Promise<ApiError> {
  const text = await body.text();
  const requestId = headers["x-request-id"]?.toString();
  try {
    const { code, message } = JSON.parse(text) as { code: string; message: string };
    return new ApiError(message, { code, ...(requestId ? { requestId } : {}) });
  } catch (error) {
    return new ApiError(`The response was ${statusCode} without an explanation`, { cause: error, ...(requestId ? { requestId } : {}) });
  }
}
