/** The part of an audit entry that decides its events. */
export interface TrailEntry {
  id: string;
  action: string;
  resourceType: string;
  changes: readonly { field: string; before: unknown; after: unknown }[];
}

/** An event that endpoints can subscribe to. */
export interface EventType {
  /** Resource type and past participle, such as `customer.created`. */
  type: string;
  /** For the document. */
  summary: string;
  /** The changes in the example of its payload. */
  exampleChanges?: readonly object[];
}

/** The events of a cell, and its webhooks' names. */
export interface EventCatalogue {
  /** In the order of the document. */
  types: readonly [EventType, ...EventType[]];
  /** The event types of an entry; empty for one that changes no record, such as an export. */
  eventsOf(entry: TrailEntry): readonly string[];
  /** A sentence for the document about changes with several events. */
  severalEvents: string;
  examples: { url: string; types: readonly string[]; resourceName: string };
  /** Prefix of its metrics' names, such as `crm`. */
  metricPrefix: string;
  /** The `User-Agent` of its deliveries. */
  userAgent: string;
}

/** The type of a test event, which every endpoint receives. */
export const pingType = "webhook.ping";

/** The types that a delivery can have. */
export function deliveredTypes({ types }: EventCatalogue): string[] {
  return [...types.map(({ type }) => type), pingType];
}

/** Whether an endpoint has subscribed to an event. */
export function wants(events: readonly string[], type: string): boolean {
  return events.includes("*") || events.includes(type);
}
