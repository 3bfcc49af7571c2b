import { expect, test } from "vitest";
import { outcomeOf, retryDelaysMs } from "./domain.ts";
import { wants } from "./event-catalogue.ts";
import { payloadOf } from "./payload.ts";

const change = (field: string, after: unknown, before: unknown = null) => ({ field, before, after });

test("a webhook takes what it names, or all", () => {
  expect([wants(["customer.created"], "customer.created"), wants(["customer.created"], "customer.deleted")]).toEqual([true, false]);
  expect(wants(["*"], "customer.created")).toBe(true);
});

test("retries go on for almost a day, spread by a tenth, and then the delivery has failed", () => {
  const all = retryDelaysMs.reduce((sum, delay) => sum + delay, 0);
  expect(all / 3_600_000).toBeGreaterThan(23);
  expect(all / 3_600_000).toBeLessThan(24);
  retryDelaysMs.forEach((delay, index) => {
    expect(outcomeOf(500, index + 1, 0, retryDelaysMs)).toEqual({ status: "pending", delayMs: Math.round(delay * 0.9) });
    expect(outcomeOf(null, index + 1, 1, retryDelaysMs)).toEqual({ status: "pending", delayMs: Math.round(delay * 1.1) });
  });
  expect(outcomeOf(500, retryDelaysMs.length + 1, 0, retryDelaysMs)).toEqual({ status: "failed", disable: undefined });
});

test.each([200, 201, 204, 299])("%d has delivered it", (status) => {
  expect(outcomeOf(status, 1, 0, retryDelaysMs)).toEqual({ status: "delivered" });
});

test.each([199, 300, 301, 302, 307, 400, 404, 429, 500])("%d has not", (status) => {
  expect(outcomeOf(status, 1, 0, retryDelaysMs).status).toBe("pending");
});

test("a payload masks what is sensitive, and all of what it does not know", () => {
  const entry = {
    ...{ id: "x", seq: 1, action: "update", resourceType: "r", resourceId: "1", resourceName: null, resourceVersion: 2 },
    ...{ changes: [change("phone", "13800138000"), change("note", "n")], requestId: "q", actorId: "a", importId: null },
  };
  const event = { eventId: "e", eventType: "customer.updated", occurredAt: "2026-01-01T00:00:00.000Z", entry };
  expect(payloadOf(event, "t", { sensitive: { phone: "phone" } }).data).toMatchObject({
    changes: [change("phone", "138****8000"), change("note", "n")],
  });
  expect(payloadOf(event, "t", undefined).data).toMatchObject({ changes: [change("phone", "****"), change("note", "****")] });
});
