interface ReceivedResponse<Body> {
  status: number;
  body: Body & { code?: string; message?: string };
}

interface Request {
  method?: string;
  body?: unknown;
  /** Makes a write safe to retry. */
  requestId?: string;
  tolerated?: readonly string[];
}

interface List<Row> {
  data: Row[];
  total: number;
}

const pageSize = 200;

/** Calls for one tenant. */
export class Api {
  readonly #gateway: string;
  readonly #tenantId: string;
  readonly #signal: AbortSignal;

  constructor(gateway: string, tenantId: string, signal: AbortSignal) {
    this.#gateway = gateway;
    this.#tenantId = tenantId;
    this.#signal = signal;
  }

  /** The response's body. Rejects unless it is a success or has one of the tolerated codes. */
  async call<Body>(path: string, key: string, request: Request = {}): Promise<Body> {
    const { status, body } = await this.#send<Body>(path, key, request);
    if (status < 400 || request.tolerated?.includes(body.code ?? "")) return body;
    throw new Error(
      `The demo data cannot be made: ${request.method ?? "GET"} ${path} answers ${status} ${body.code}: ${body.message}. ` +
        "DEMO=0 starts without them.",
    );
  }

  /** Number of a list's rows, and the first one. */
  async first<Row>(path: string, key: string): Promise<{ total: number; row: Row | undefined }> {
    const { total, data } = await this.call<List<Row>>(`${path}${path.includes("?") ? "&" : "?"}pageSize=1`, key);
    return { total, row: data[0] };
  }

  /** All rows of a list. */
  async all<Row>(path: string, key: string): Promise<Row[]> {
    const page = (number: number) =>
      this.call<List<Row>>(`${path}${path.includes("?") ? "&" : "?"}pageSize=${pageSize}&page=${number}`, key);
    const { total, data } = await page(1);
    const others = await Promise.all(Array.from({ length: Math.max(0, Math.ceil(total / pageSize) - 1) }, (_, index) => page(index + 2)));
    return [...data, ...others.flatMap((other) => other.data)];
  }

  /** True if the key is known, whatever it may do. */
  async accepts(key: string): Promise<boolean> {
    return (await this.#send("/api/v1/crm/customers?pageSize=1", key, {})).status !== 401;
  }

  async #send<Body>(path: string, key: string, { method = "GET", body, requestId }: Request): Promise<ReceivedResponse<Body>> {
    const headers: Record<string, string> = { authorization: `Bearer ${key}` };
    if (path.startsWith("/api/v1/")) headers["x-tenant-id"] = this.#tenantId;
    if (requestId !== undefined) headers["x-request-id"] = requestId;
    if (body !== undefined) headers["content-type"] = "application/json";
    const init: RequestInit = { method, headers, signal: this.#signal };
    if (body !== undefined) init.body = JSON.stringify(body);
    const response = await fetch(this.#gateway + path, init);
    return { status: response.status, body: (await response.json()) as ReceivedResponse<Body>["body"] };
  }
}
