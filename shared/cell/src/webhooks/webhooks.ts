import type { EventDefinition } from "../http/endpoint.ts";
import type { ListRunner } from "../lists/lists.ts";
import { deliveryLists } from "./deliveries.ts";
import { deliveredTypes, type EventCatalogue } from "./event-catalogue.ts";
import { eventDefinitions } from "./payload.ts";
import { webhookLists } from "./repository.ts";
import { type Delivery, type Webhook, webhookSchemas } from "./schema.ts";

/** A cell's events, and the schemas and lists derived from them. */
export interface Webhooks extends ReturnType<typeof webhookSchemas> {
  catalogue: EventCatalogue;
  definitions: readonly EventDefinition[];
  /** The types that a delivery can have. */
  deliveredTypes: readonly string[];
  lists: ListRunner<Webhook>;
  deliveryLists: ListRunner<Delivery>;
}

/** Declares the webhooks of a cell by its events, once for `webhookRoutes` and its `Dispatcher`. */
export function defineWebhooks(catalogue: EventCatalogue): Webhooks {
  const definitions = eventDefinitions(catalogue);
  const schemas = webhookSchemas(catalogue, definitions);
  const types = deliveredTypes(catalogue);
  return {
    ...schemas,
    catalogue,
    definitions,
    deliveredTypes: types,
    lists: webhookLists(schemas.webhook),
    deliveryLists: deliveryLists(schemas.delivery, types),
  };
}
