import { payloadOf } from "@cell/cell/webhooks/payload";
import { expect, test } from "vitest";
import { payment } from "../payments/schema.ts";
import { eventsOf } from "./event-catalogue.ts";

const change = (field: string, after: unknown, before: unknown = null) => ({ field, before, after });
const events = (action: string, resourceType: string, ...changes: ReturnType<typeof change>[]) =>
  eventsOf({ id: "x", action, resourceType, changes });

test.each([
  ["customer", "create", [], ["customer.created"]],
  ["customer", "restore", [], ["customer.restored"]],
  ["customer", "merge", [], ["customer.merged"]],
  ["opportunity", "update", [change("name", "x")], ["opportunity.updated"]],
  ["opportunity", "update", [change("stage", "b", "a")], ["opportunity.updated", "opportunity.stage_changed"]],
  [
    "opportunity",
    "update",
    [change("stage", "w"), change("status", "won", "open")],
    ["opportunity.updated", "opportunity.stage_changed", "opportunity.won"],
  ],
  [
    "opportunity",
    "update",
    [change("stage", "l"), change("status", "lost", "open")],
    ["opportunity.updated", "opportunity.stage_changed", "opportunity.lost"],
  ],
  ["opportunity", "create", [change("stage", "w"), change("status", "won")], ["opportunity.created", "opportunity.won"]],
  ["opportunity", "create", [change("stage", "a"), change("status", "open")], ["opportunity.created"]],
  ["payment", "create", [change("status", "received")], ["payment.registered"]],
  ["payment", "update", [change("status", "void", "received")], ["payment.voided"]],
  ["payment", "void", [change("status", "void", "received")], ["payment.voided"]],
  ["import", "import", [], ["import.completed"]],
  ["import", "import", [change("dryRun", true)], []],
  ["import", "restore", [], ["import.reverted"]],
  ["settings", "settings", [], ["settings.updated"]],
  ["customer", "export", [], []],
  ["customer", "reveal", [], []],
  ["webhook", "update", [], []],
] as const)("%s %s of %j is the events %j", (resourceType, action, changes, expected) => {
  expect(events(action, resourceType, ...changes)).toEqual(expected);
});

test("a payload of a payment tells neither its amount nor whether that was too much", () => {
  const entry = {
    ...{ id: "x", seq: 1, action: "create", resourceType: "payment", resourceId: "1", resourceName: null, resourceVersion: 1 },
    ...{ changes: [change("amount", "400.00"), change("overpaid", true), change("kind", "payment")] },
    ...{ requestId: "q", actorId: "a", importId: null },
  };
  const event = { eventId: "e", eventType: "payment.registered", occurredAt: "2026-01-01T00:00:00.000Z", entry };
  expect(payloadOf(event, "t", payment).data).toMatchObject({
    changes: [change("amount", "****"), change("overpaid", "****"), change("kind", "payment")],
  });
});
