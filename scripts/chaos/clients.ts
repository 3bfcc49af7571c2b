import { setTimeout as sleep } from "node:timers/promises";
import type { Attempt, Write } from "./history.ts";
import { send } from "./http.ts";
import type { TenantKeys, Testbed } from "./testbed.ts";
import type { Workload } from "./workload.ts";

/** Share of acknowledged writes that clients repeat. */
const repeatShare = 0.03;

/** The clients of one tenant: each sends one write after another, and retries each until it is acknowledged or rejected. */
export class Clients {
  readonly writes: Write[] = [];
  readonly #testbed: Testbed;
  readonly #tenant: TenantKeys;
  readonly #workload: Workload;
  readonly #random: () => number;
  readonly #running: Promise<void>[] = [];
  #acknowledged = 0;
  #stopping = false;
  #giveUpMs = Number.POSITIVE_INFINITY;

  constructor(testbed: Testbed, tenant: TenantKeys, workload: Workload, random: () => number) {
    this.#testbed = testbed;
    this.#tenant = tenant;
    this.#workload = workload;
    this.#random = random;
  }

  /** Writes acknowledged so far. */
  get acknowledged(): number {
    return this.#acknowledged;
  }

  start(count: number): void {
    for (let index = 0; index < count; index++) this.#running.push(this.#client(this.#tenant.keys[index % this.#tenant.keys.length] ?? ""));
  }

  /** Sends another write beside the others, as the first user. */
  also(write: Write): void {
    this.#keyOf.set(write, this.#tenant.keys[0] ?? "");
    this.writes.push(write);
    this.#running.push(this.#carryOut(write));
  }

  /** Sends no new writes; resolves when running ones have ended, or after the time limit. */
  async stop(patienceMs: number): Promise<void> {
    this.#stopping = true;
    this.#giveUpMs = performance.now() + patienceMs;
    await Promise.all(this.#running);
  }

  /** Repeats an acknowledged write, and records a different response. */
  async repeat(write: Write): Promise<void> {
    const first = write.acknowledged;
    const { status, text, replayed } = await this.#send(write);
    if (first && status !== undefined && status < 300 && (text !== first.text || status !== first.status || !replayed)) {
      write.differing.push(`${status}${replayed ? "" : ", not marked as a repeat"}: ${text}`);
    }
    if (first && status !== undefined && status >= 400 && status < 500 && !isPassing(status, write.attempts.at(-1)?.code)) {
      write.differing.push(`${status}: ${text}`);
    }
    if (!first) this.#settle(write, status, text);
  }

  async #client(key: string): Promise<void> {
    while (!this.#stopping) {
      const write = this.#workload.next();
      this.#keyOf.set(write, key);
      this.writes.push(write);
      await this.#carryOut(write);
      if (write.acknowledged && this.#random() < repeatShare) await this.repeat(write);
    }
  }

  async #carryOut(write: Write): Promise<void> {
    while (!write.acknowledged && !write.refused) {
      const { status, text } = await this.#send(write);
      this.#settle(write, status, text);
      if (write.acknowledged || write.refused || performance.now() > this.#giveUpMs) return;
      await sleep(50 + 200 * this.#random());
    }
  }

  readonly #keyOf = new WeakMap<Write, string>();

  async #send(write: Write): Promise<{ status: number | undefined; text: string; replayed: boolean }> {
    const attempt: Attempt = { startedMs: performance.now(), endedMs: 0, status: undefined, code: undefined };
    const headers: Record<string, string> = {
      authorization: `Bearer ${this.#keyOf.get(write) ?? ""}`,
      "x-tenant-id": this.#tenant.tenantId,
      "x-request-id": write.id,
    };
    if (write.ifMatch !== undefined) headers["if-match"] = `"${write.ifMatch}"`;
    try {
      const { method, path, body } = write;
      const response = await send(`${this.#testbed.gateway}/api/v1/crm${path}`, { method, headers, body });
      attempt.status = response.status;
      if (response.status >= 400) attempt.code = codeOf(response.text);
      if (response.status >= 500) attempt.message = response.text;
      return { status: response.status, text: response.text, replayed: response.headers["idempotency-replayed"] === "true" };
    } catch (error) {
      attempt.code = (error as NodeJS.ErrnoException).code ?? (error as Error).message;
      return { status: undefined, text: "", replayed: false };
    } finally {
      attempt.endedMs = performance.now();
      write.attempts.push(attempt);
    }
  }

  #settle(write: Write, status: number | undefined, text: string): void {
    if (status === undefined || status >= 500 || isPassing(status, write.attempts.at(-1)?.code)) return;
    if (status < 300) {
      write.acknowledged = { status, text };
      this.#acknowledged++;
      this.#workload.succeeded(write, text);
    } else {
      write.refused = { status, code: codeOf(text), text };
    }
  }
}

/** A transient error: the same request is to be sent again. */
function isPassing(status: number, code: string | undefined): boolean {
  return status === 429 || (status === 409 && code === "IDEMPOTENT_CONFLICT:IN_PROGRESS");
}

function codeOf(text: string): string {
  try {
    const { code, details } = JSON.parse(text) as { code: string; details?: { reason?: string } };
    return details?.reason ? `${code}:${details.reason}` : code;
  } catch {
    return "no JSON";
  }
}
