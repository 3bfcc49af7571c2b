import type { Tenant } from "@cell/postgres";
import { v5 as uuidv5, v7 as uuidv7 } from "uuid";
import * as trail from "./audit-source.ts";
import * as deliveries from "./delivery-queue.ts";
import { type EventCatalogue, type TrailEntry, wants } from "./event-catalogue.ts";

const entriesAtOnce = 500;

/**
 * Transactional outbox: creates an endpoint's deliveries from audit entries of finished transactions since its last position. Each step is
 * one transaction with the endpoint's new position, so that no event is lost or duplicated. Resolves to whether entries remain that an
 * older running transaction holds up.
 */
export async function fanOut(tenant: Tenant, webhookId: string, catalogue: EventCatalogue): Promise<boolean> {
  for (;;) {
    const { full, left } = await tenant.write(async (session) => {
      await session.begin();
      const endpoint = await deliveries.lock(session.tx, webhookId);
      if (!endpoint) return { full: false, left: false };
      const entries = await trail.next(session.tx, endpoint, entriesAtOnce);
      const unfinished = entries.findIndex(({ finished }) => !finished);
      const finished = unfinished < 0 ? entries : entries.slice(0, unfinished);
      const last = finished.at(-1);
      if (last) {
        const position = { positionTransaction: last.transactionId, positionSeq: String(last.seq) };
        await deliveries.advance(session.tx, webhookId, newDeliveries(finished, endpoint.events, catalogue), position);
      }
      await session.commit(undefined, [], []);
      return { full: finished.length === entriesAtOnce, left: unfinished >= 0 };
    });
    if (!full) return left;
  }
}

/** The deliveries of these events to an endpoint. An event's id is derived from its audit entry, so that it is the same each time. */
export function newDeliveries(
  entries: readonly (TrailEntry & { seq: number; occurredAt: string })[],
  events: readonly string[],
  { eventsOf }: EventCatalogue,
): deliveries.NewDelivery[] {
  return entries.flatMap((entry) =>
    eventsOf(entry)
      .filter((type) => wants(events, type))
      .map((eventType) => ({
        deliveryId: uuidv7(),
        eventId: uuidv5(eventType, entry.id),
        eventType,
        auditSeq: entry.seq,
        occurredAt: entry.occurredAt,
      })),
  );
}
