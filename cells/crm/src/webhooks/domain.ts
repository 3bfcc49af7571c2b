import { mask, type Resource } from "@cell/cell";

/** The events that an endpoint can ask for. */
export const eventTypes = [
  "customer.created",
  "customer.updated",
  "customer.deleted",
  "customer.restored",
  "customer.merged",
  "contact.created",
  "contact.updated",
  "contact.deleted",
  "pipeline.created",
  "pipeline.updated",
  "opportunity.created",
  "opportunity.updated",
  "opportunity.deleted",
  "opportunity.stage_changed",
  "opportunity.won",
  "opportunity.lost",
  "contract.created",
  "contract.updated",
  "contract.deleted",
  "payment.registered",
  "payment.voided",
  "import.completed",
  "import.reverted",
  "settings.updated",
] as const;
export type EventType = (typeof eventTypes)[number];

/** What a test sends: every endpoint takes it. */
export const pingType = "webhook.ping";
/** The types that a delivery can have. */
export const deliveredTypes = [...eventTypes, pingType] as const;

const known: ReadonlySet<string> = new Set(eventTypes);

/** What an entry of the audit trail says of a change. */
export interface TrailEntry {
  id: string;
  action: string;
  resourceType: string;
  changes: readonly { field: string; before: unknown; after: unknown }[];
}

const verbs: Readonly<Record<string, string>> = {
  create: "created",
  update: "updated",
  delete: "deleted",
  restore: "restored",
  merge: "merged",
  void: "voided",
  settings: "updated",
};
/** Where an event has a word of its own. */
const words: Readonly<Record<string, EventType>> = {
  "payment.created": "payment.registered",
  "import.restored": "import.reverted",
};

/** The events that an entry stands for, the general one first: none for what changes no record, such as an export. */
export function eventsOf({ action, resourceType, changes }: TrailEntry): EventType[] {
  const after = (field: string) => changes.find((change) => change.field === field)?.after;
  // A dry run has changed nothing.
  if (action === "import" && after("dryRun") === true) return [];
  const verb = action === "import" ? "completed" : verbs[action];
  const name = `${resourceType}.${verb}`;
  const events: string[] = [words[name] ?? name];
  // So the trail said it before voiding was an action of its own.
  if (resourceType === "payment" && action === "update" && after("status") === "void") events.push("payment.voided");
  if (resourceType === "opportunity" && action === "update" && changes.some(({ field }) => field === "stage" || field === "pipelineId"))
    events.push("opportunity.stage_changed");
  if (resourceType === "opportunity" && after("status") === "won") events.push("opportunity.won");
  if (resourceType === "opportunity" && after("status") === "lost") events.push("opportunity.lost");
  return events.filter((event): event is EventType => known.has(event));
}

/** Whether an endpoint asks for an event. */
export function wants(events: readonly string[], type: string): boolean {
  return events.includes("*") || events.includes(type);
}

/** What happened, as a receiver is told: whole records are fetched by API, so that nobody learns here what he may not read there. */
export interface Payload {
  id: string;
  type: string;
  occurredAt: string;
  tenantId: string;
  data: object;
}

/** An event as it was queued, with the entry that it tells of; null where there is none. */
export interface Event {
  eventId: string;
  eventType: string;
  occurredAt: string;
  entry: (TrailEntry & Details) | null;
}

interface Details {
  seq: number;
  resourceId: string;
  resourceName: string | null;
  resourceVersion: number | null;
  requestId: string;
  actorId: string;
  importId: string | null;
}

/** The body of a delivery; what is sensitive is masked, as in every list. Of a resource that is not known any more everything is. */
export function payloadOf(event: Event, tenantId: string, of: Pick<Resource, "sensitive"> | undefined): Payload {
  const { eventId: id, eventType: type, occurredAt, entry } = event;
  if (!entry) return { id, type, occurredAt, tenantId, data: {} };
  const { resourceType, resourceId, resourceName, resourceVersion, requestId, actorId, importId, seq } = entry;
  const changes = entry.changes.map((change) => {
    const kind = of ? of.sensitive[change.field] : "amount";
    return kind ? { ...change, before: mask(kind, change.before), after: mask(kind, change.after) } : change;
  });
  const data = { resourceType, resourceId, resourceName, resourceVersion, changes, requestId, actorId, importId, sequence: seq };
  return { id, type, occurredAt, tenantId, data };
}

const second = 1_000;
const minute = 60 * second;
const hour = 60 * minute;

/** How long after each failed attempt the next one comes, in milliseconds: almost a day in all. */
export const retryDelaysMs: readonly number[] = [
  5 * second,
  30 * second,
  2 * minute,
  10 * minute,
  30 * minute,
  hour,
  2 * hour,
  4 * hour,
  8 * hour,
  8 * hour,
];

/** An endpoint that has only failed for so long is disabled. */
export const failingForMs = 5 * 24 * hour;

/** What follows from an attempt. */
export type DeliveryOutcome =
  | { status: "delivered" }
  | { status: "failed"; disable: "gone" | undefined }
  | { status: "pending"; delayMs: number };

/**
 * What becomes of a delivery after its attempt number `tries` since it was queued: any 2xx has delivered it, 410 ends it and its endpoint,
 * all else is tried again. `chance`, from 0 to 1, spreads the retries by a tenth to either side.
 */
export function outcomeOf(statusCode: number | null, tries: number, chance: number, delaysMs: readonly number[]): DeliveryOutcome {
  if (statusCode !== null && statusCode >= 200 && statusCode < 300) return { status: "delivered" };
  if (statusCode === 410) return { status: "failed", disable: "gone" };
  const delay = delaysMs[tries - 1];
  if (delay === undefined) return { status: "failed", disable: undefined };
  return { status: "pending", delayMs: Math.round(delay * (0.9 + chance * 0.2)) };
}
