import { Counter, type Logger, type Registry as Metrics, newRequestId, type Outbound, OutboundError } from "@cell/http";
import type { Tenant } from "@cell/postgres";
import { auditEntry, audited } from "../audit/entries.ts";
import { resources } from "../schema/resource.ts";
import * as deliveries from "./delivery-queue.ts";
import { failingForMs, outcomeOf, retryDelaysMs } from "./domain.ts";
import { payloadOf } from "./payload.ts";
import * as endpoints from "./repository.ts";
import type { StoredWebhook } from "./schema.ts";
import { secretOf, signatureHeaders, type WebhookKeys } from "./secrets.ts";
import type { Webhooks } from "./webhooks.ts";

export interface SenderOptions {
  /** The cell's webhooks. */
  webhooks: Webhooks;
  outbound: Outbound;
  keys: WebhookKeys;
  log: Logger;
  /** Called after an endpoint was disabled; wakes the sealer. */
  committed(tenantId: string): void;
  /** Time limit of one attempt; default 10 s. */
  timeoutMs?: number;
  /** Lease of a claimed delivery; default: a minute. */
  leaseMs?: number;
  /** Back-off after each failed attempt; default: almost a day in total. */
  retryDelaysMs?: readonly number[];
}

/** Concurrent requests: in this process, to one endpoint, and to a failing one, so that stalled endpoints delay no others. */
const mostAtOnce = 256;
const mostToOne = 8;
const mostToFailing = 1;

interface Endpoint {
  inFlight: number;
  failing: boolean;
  claiming: boolean;
  /** More may be due than was claimed. */
  more: boolean;
}

/** Sends due deliveries, with limited concurrency per endpoint, and fairly if the total limit is reached. */
export class Sender {
  readonly #options: SenderOptions;
  readonly #due: (tenantId: string, inMs: number) => void;
  readonly #endpoints = new Map<string, Endpoint>();
  /** Endpoints waiting for a free place, in order. */
  readonly #blocked = new Map<string, () => void>();
  readonly #sending = new Set<Promise<void>>();
  readonly #attempts: Counter<"outcome">;
  #stopping = false;

  /** `due` receives the time at which a failed delivery is to be retried. */
  constructor(options: SenderOptions, due: (tenantId: string, inMs: number) => void) {
    this.#options = options;
    this.#due = due;
    this.#attempts = new Counter({
      name: `${options.webhooks.catalogue.metricPrefix}_webhook_attempts_total`,
      help: "Attempts to deliver an event, by what became of the delivery",
      labelNames: ["outcome"] as const,
      registers: [],
    });
  }

  register(metrics: Metrics): void {
    metrics.registerMetric(this.#attempts);
  }

  /** Claims nothing more; resolves when running attempts have ended and are recorded. */
  async stop(): Promise<void> {
    this.#stopping = true;
    this.#blocked.clear();
    while (this.#sending.size > 0) await Promise.all(this.#sending);
  }

  /** Sends an endpoint's due deliveries while there are free places; continues as places become free. */
  async pump(tenant: Tenant, webhookId: string): Promise<void> {
    const endpoint = this.#endpoints.get(webhookId) ?? { inFlight: 0, failing: false, claiming: false, more: false };
    this.#endpoints.set(webhookId, endpoint);
    endpoint.more = true;
    if (endpoint.claiming) return;
    endpoint.claiming = true;
    try {
      while (endpoint.more && !this.#stopping) {
        const room = mostAtOnce - this.#sending.size;
        if (room <= 0) this.#blocked.set(webhookId, () => this.#goOn(tenant, webhookId));
        const limit = Math.min(room, (endpoint.failing ? mostToFailing : mostToOne) - endpoint.inFlight);
        if (limit <= 0) return;
        endpoint.more = false;
        await this.#claim(tenant, webhookId, endpoint, limit);
      }
    } finally {
      endpoint.claiming = false;
      if (endpoint.inFlight === 0 && !endpoint.more) this.#endpoints.delete(webhookId);
    }
  }

  async #claim(tenant: Tenant, webhookId: string, endpoint: Endpoint, limit: number): Promise<void> {
    const { leaseMs = 60_000 } = this.#options;
    const taken = await tenant.write(async (session) => {
      await session.begin();
      const target = await endpoints.target(session.tx, webhookId, failingForMs);
      if (!target) return undefined;
      const allowed = target.failing ? Math.min(limit, mostToFailing) : limit;
      const claimed = await deliveries.claim(session.tx, webhookId, allowed, leaseMs);
      await session.commit(undefined, [], []);
      return { target, claimed, full: claimed.length === allowed };
    });
    if (!taken) return;
    const { target, claimed, full } = taken;
    endpoint.failing = target.failing;
    endpoint.more ||= full;
    for (const delivery of claimed) {
      endpoint.inFlight++;
      const sending = this.#deliver(tenant, target, delivery, endpoint)
        .catch((err) => this.#options.log.warn({ tenantId: tenant.tenantId, webhookId, err }, "a delivery could not be made or noted"))
        .finally(() => {
          endpoint.inFlight--;
          this.#sending.delete(sending);
          this.#freed(tenant, webhookId, endpoint);
        });
      this.#sending.add(sending);
    }
  }

  /** Gives a free place to the endpoint that has waited longest, then to the endpoint itself. */
  #freed(tenant: Tenant, webhookId: string, endpoint: Endpoint): void {
    const [first] = this.#blocked;
    if (first) {
      const [waiting, goOn] = first;
      this.#blocked.delete(waiting);
      if (endpoint.more) this.#blocked.set(webhookId, () => this.#goOn(tenant, webhookId));
      goOn();
    } else if (endpoint.more) this.#goOn(tenant, webhookId);
    else if (endpoint.inFlight === 0 && !endpoint.claiming) this.#endpoints.delete(webhookId);
  }

  #goOn(tenant: Tenant, webhookId: string): void {
    if (this.#stopping) return;
    this.pump(tenant, webhookId).catch((err) =>
      this.#options.log.warn({ tenantId: tenant.tenantId, webhookId, err }, "due deliveries could not be taken"),
    );
  }

  async #deliver(tenant: Tenant, target: endpoints.Target, delivery: deliveries.Claimed, endpoint: Endpoint): Promise<void> {
    const { retryDelaysMs: delaysMs = retryDelaysMs } = this.#options;
    const startedMs = performance.now();
    const { statusCode, error } = await this.#attempt(tenant.tenantId, target, delivery);
    const outcome = outcomeOf(statusCode, delivery.tries, Math.random(), delaysMs);
    const delivered = outcome.status === "delivered";
    endpoint.failing = !delivered;
    const noted = {
      deliveryId: delivery.deliveryId,
      attempt: delivery.attempts,
      startedAt: new Date(startedMs).toISOString(),
      durationMs: Math.round(performance.now() - startedMs),
      statusCode,
      error,
      status: outcome.status,
      delayMs: outcome.status === "pending" ? outcome.delayMs : null,
    };
    await tenant.write((session) => {
      const { tx } = session;
      return session.commit(undefined, [...deliveries.note(tx, noted), endpoints.noteHealth(tx, target.webhookId, delivered)], []);
    });
    if (outcome.status === "pending") this.#due(tenant.tenantId, outcome.delayMs);
    this.#attempts.inc({ outcome: outcome.status === "pending" ? "retried" : outcome.status });
    if (outcome.status === "failed" && outcome.disable) await this.#disable(tenant, target.webhookId, outcome.disable);
    else if (!delivered && target.givenUp) await this.#disable(tenant, target.webhookId, "failing");
  }

  async #attempt(tenantId: string, target: endpoints.Target, delivery: deliveries.Claimed) {
    const { keys, outbound, webhooks, timeoutMs = 10_000 } = this.#options;
    const body = JSON.stringify(payloadOf(delivery, tenantId, resources.get(delivery.entry?.resourceType ?? "")));
    const { webhookId, secretNumber, previousSecretKeyId, previousSigns } = target;
    const secrets = [secretOf(keys, tenantId, target)];
    if (previousSigns && previousSecretKeyId !== null)
      secrets.push(secretOf(keys, tenantId, { webhookId, secretKeyId: previousSecretKeyId, secretNumber: secretNumber - 1 }));
    const headers = {
      "content-type": "application/json; charset=utf-8",
      "user-agent": webhooks.catalogue.userAgent,
      ...signatureHeaders(secrets, delivery.eventId, body, Date.now()),
    };
    try {
      return { statusCode: (await outbound.post(target.url, { headers, body, timeoutMs })).status, error: null };
    } catch (error) {
      if (error instanceof OutboundError) return { statusCode: null, error: error.reason };
      throw error;
    }
  }

  /** Disables an endpoint, with an audit entry by the system. */
  async #disable(tenant: Tenant, webhookId: string, disabledReason: StoredWebhook["disabledReason"]): Promise<void> {
    await tenant.write(async (session) => {
      const current = await endpoints.find(session.tx, webhookId);
      if (!current?.enabled) return;
      const now = new Date().toISOString();
      const next = { ...current, enabled: false, disabledReason, updatedAt: now, version: current.version + 1 };
      const caller = { userId: "system", actorType: "service" as const };
      const entry = auditEntry(
        { now, requestId: newRequestId(), ip: null, userAgent: null, caller },
        audited("update", this.#options.webhooks.webhook, current, next),
      );
      await session.commit(undefined, [endpoints.update(session.tx, next, current.version)], [entry]);
    });
    this.#options.committed(tenant.tenantId);
    this.#options.log.warn({ tenantId: tenant.tenantId, webhookId, disabledReason }, "a webhook was disabled");
  }
}
