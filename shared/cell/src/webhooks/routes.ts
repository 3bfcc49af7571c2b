import type { Outbound } from "@cell/http";
import { badField, Problem } from "@cell/problem";
import { v7 as uuidv7 } from "uuid";
import { audited } from "../audit/entries.ts";
import type { Cell } from "../cell-types.ts";
import { applyPatch } from "../commands/apply-patch.ts";
import { requireVersion } from "../commands/optimistic-lock.ts";
import { endpoint, idParams } from "../http/endpoint.ts";
import { listQuery, listResponse } from "../lists/list-query.ts";
import { listOf } from "../schema/resource.ts";
import { deliveryRoutes } from "./delivery-routes.ts";
import type { EventCatalogue } from "./event-catalogue.ts";
import * as endpoints from "./repository.ts";
import { type StoredWebhook, webhookDeleted } from "./schema.ts";
import { secretOf, type WebhookKeys } from "./secrets.ts";
import type { Webhooks } from "./webhooks.ts";

export interface WebhookOptions {
  outbound: Pick<Outbound, "problemOf">;
  keys: WebhookKeys;
  /** Called after a change of a tenant's endpoints or deliveries; wakes the dispatcher. */
  changed(tenantId: string): void;
}

const tag = "Webhooks";
const mostWebhooks = 20;
const previousSignsForMs = 24 * 60 * 60 * 1000;

const deleteWebhook = endpoint({
  method: "delete",
  path: "/webhooks/{id}",
  permission: "tenant:admin",
  isTenantWide: true,
  tag,
  summary: "Delete a webhook, with its log of deliveries",
  params: idParams,
  status: 200,
  response: webhookDeleted,
  versioned: true,
  visibility: "everyone",
});

/** The routes whose schemas depend on the cell's events. */
function webhookEndpoints(webhooks: Webhooks, keys: () => WebhookKeys) {
  const { webhook, webhookInput, webhookPatch } = webhooks;
  const responseWithSecret = webhooks.withSecret((tenantId, place) => secretOf(keys(), tenantId, place));
  return {
    listWebhooks: endpoint({
      method: "get",
      path: "/webhooks",
      permission: "tenant:admin",
      isTenantWide: true,
      tag,
      summary: "List webhooks",
      query: listQuery,
      status: 200,
      response: listOf(webhook, listResponse(webhook)),
    }),
    getWebhook: endpoint({
      method: "get",
      path: "/webhooks/{id}",
      permission: "tenant:admin",
      isTenantWide: true,
      tag,
      summary: "Read a webhook",
      params: idParams,
      status: 200,
      response: webhook,
      versioned: true,
    }),
    createWebhook: endpoint({
      method: "post",
      path: "/webhooks",
      permission: "tenant:admin",
      isTenantWide: true,
      tag,
      summary: "Create a webhook",
      description: createDescription(webhooks.catalogue),
      body: webhookInput,
      status: 201,
      response: responseWithSecret,
      versioned: true,
      visibility: "everyone",
    }),
    changeWebhook: endpoint({
      method: "patch",
      path: "/webhooks/{id}",
      permission: "tenant:admin",
      isTenantWide: true,
      tag,
      summary: "Change a webhook",
      description: "A webhook that is enabled again only receives later events; missed ones can be replayed.",
      params: idParams,
      body: webhookPatch,
      status: 200,
      response: webhook,
      versioned: true,
      visibility: "everyone",
    }),
    rotateSecret: endpoint({
      method: "post",
      path: "/webhooks/{id}/rotate-secret",
      permission: "tenant:admin",
      isTenantWide: true,
      tag,
      summary: "Rotate a webhook's secret",
      description: "The previous secret also signs for 24 hours: deliveries then have two signatures.",
      params: idParams,
      status: 200,
      response: responseWithSecret,
      versioned: true,
      visibility: "everyone",
    }),
  };
}

function createDescription({ types, severalEvents }: EventCatalogue): string {
  return `Events are posted as JSON: \`{id, type, occurredAt, tenantId, data: {resourceType, resourceId, resourceName, resourceVersion,
changes: [{field, before, after}], requestId, actorId, importId, sequence}}\`, what is sensitive masked: fetch the record for more.

- **Events**: ${types.map(({ type }) => `\`${type}\``).join(", ")}; \`*\` for all. ${severalEvents}
- **Signature** by the Standard Webhooks specification: \`webhook-id\`, \`webhook-timestamp\` (seconds) and \`webhook-signature\`, by spaces
\`v1,\` and the base64 of HMAC-SHA256 over \`id.timestamp.body\`, its key being the base64 behind the secret's \`whsec_\`. Refuse timestamps that
are minutes old.
- **At least once**: the same event always has the same \`webhook-id\`. Nothing is said of the order: \`sequence\` grows along each record's changes.
- Any 2xx within 10 seconds counts as taken. All else, redirects included, is tried again 10 times over almost 24 hours; 410 disables the webhook,
as do five days of nothing but failures.`;
}

/** Routes of a cell's webhooks, and of their deliveries. */
export function webhookRoutes(webhooks: Webhooks, options: () => WebhookOptions): (cell: Cell) => void {
  const { listWebhooks, getWebhook, createWebhook, changeWebhook, rotateSecret } = webhookEndpoints(webhooks, () => options().keys);
  const { webhook } = webhooks;
  const woken = (tenantId: string) => options().changed(tenantId);
  const checkUrl = (url: string | undefined) => {
    const problem = url === undefined ? undefined : options().outbound.problemOf(url);
    if (problem) throw badField("url", "INVALID_FORMAT", problem);
  };

  return (cell) => {
    cell.events(webhooks.definitions);
    cell.list(listWebhooks, webhooks.lists);
    cell.read(getWebhook, "Webhook", (context, tenant) => endpoints.find(tenant, context.params.id));

    cell.command(createWebhook, async (context, tx) => {
      checkUrl(context.body.url);
      if ((await endpoints.count(tx)) >= mostWebhooks)
        throw new Problem("CONFLICT", `A tenant can have ${mostWebhooks} webhooks; delete one first`);
      const created: StoredWebhook = {
        description: null,
        enabled: true,
        ...context.body,
        webhookId: uuidv7(),
        disabledReason: null,
        failingSince: null,
        secretKeyId: options().keys[0].id,
        secretNumber: 1,
        previousSecretKeyId: null,
        previousSecretUntil: null,
        createdAt: context.now,
        updatedAt: context.now,
        version: 1,
      };
      return {
        changes: [endpoints.insert(tx, created)],
        audit: [audited("create", webhook, {}, created)],
        body: created,
        committed: () => woken(tx.tenantId),
      };
    });

    cell.command(changeWebhook, async (context, tx) => {
      const current = await requireVersion(context, tx, webhook, await endpoints.find(tx, context.params.id));
      checkUrl(context.body.url);
      const enables = context.body.enabled === true && !current.enabled;
      const begins = enables || (context.body.url !== undefined && context.body.url !== current.url);
      const patch = begins ? { ...context.body, disabledReason: null, failingSince: null } : context.body;
      const next = applyPatch<StoredWebhook>(current, patch, context.now);
      if (next === current) return { changes: [], audit: [], body: current, resourceId: current.webhookId };
      return {
        changes: [endpoints.update(tx, next, current.version, enables)],
        audit: [audited("update", webhook, current, next)],
        body: next,
        committed: () => woken(tx.tenantId),
      };
    });

    cell.command(rotateSecret, async (context, tx) => {
      const current = await requireVersion(context, tx, webhook, await endpoints.find(tx, context.params.id));
      const previousSecretUntil = new Date(Date.parse(context.now) + previousSignsForMs).toISOString();
      const secret = {
        secretKeyId: options().keys[0].id,
        secretNumber: current.secretNumber + 1,
        previousSecretKeyId: current.secretKeyId,
      };
      const next = { ...current, ...secret, previousSecretUntil, updatedAt: context.now, version: current.version + 1 };
      return { changes: [endpoints.update(tx, next, current.version)], audit: [audited("update", webhook, current, next)], body: next };
    });

    cell.command(deleteWebhook, async (context, tx) => {
      const current = await requireVersion(context, tx, webhook, await endpoints.find(tx, context.params.id));
      return {
        changes: [endpoints.remove(tx, current.webhookId, current.version, context.now)],
        audit: [audited("delete", webhook, current, { ...current, version: current.version + 1 })],
        body: { webhookId: current.webhookId, deleted: true as const },
      };
    });

    deliveryRoutes(cell, webhooks, woken);
  };
}
