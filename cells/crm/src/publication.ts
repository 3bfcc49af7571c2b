import type { Tag } from "@cell/http/openapi/document";
import { eventsTag, operationsTag } from "@cell/http/openapi/operational";
import { introduction } from "./introduction.ts";

/** The tags of the routes, in the order of daily work. */
const tags: readonly Tag[] = [
  {
    name: "Customers",
    description: "Companies that buy or may buy. A name is unique among the live ones; a deleted customer can be restored.",
  },
  { name: "Contacts", description: "People at a customer." },
  { name: "Opportunities", description: "Possible sales to customers, which move through the stages of a pipeline." },
  { name: "Pipelines", description: "The ordered stages of opportunities, with their probabilities." },
  { name: "Contracts", description: "Agreed sales, with received and outstanding amounts." },
  { name: "Payments", description: "Money received on a contract. Payments cannot be edited: void the payment and record it again." },
  { name: "Reports", description: "Pipeline summary, funnels, forecast and key figures. Each figure links to the records that it counts." },
  { name: "Imports", description: "Records from CSV or JSON, in one request or in the background; an import can be reverted." },
  { name: "Exports", description: "Records as CSV or JSON, with the filters, order and masking of their lists. Each export is audited." },
  { name: "Audit", description: "All changes, with actor and time. The trail is sealed, so that tampering is detected." },
  { name: "Settings", description: "The tenant's timezone, currency, rates, thresholds and policies." },
  { name: "Webhooks", description: "Endpoints that receive events, with their deliveries." },
  eventsTag,
  operationsTag,
];

/** Examples of fields whose schemas have none, by name: all from one consistent story. */
const exampleValues: Readonly<Record<string, unknown>> = {
  tenantId: "tenant-001",
  customerId: "0197c3a2-7c1e-7b1a-9d53-0d6b6a1f2c10",
  contactId: "0197c3a2-9f04-7d60-8c11-5b0f3a7e4d21",
  pipelineId: "0197c3a1-0b7f-7e02-a1c4-3f9d2b6e8a54",
  opportunityId: "0197c3a3-1a52-7c3d-b2e6-91d4c7f05a33",
  contractId: "0197c3a4-52b8-7f19-8a70-2c6e4d9b1f42",
  paymentId: "0197c3a5-8d3c-7a6b-9e25-70b1f4c8d693",
  importId: "0197c3a6-33e1-7b84-86f2-e5a90d7c1b76",
  webhookId: "0197c3a7-6f95-7e5a-b0d8-4a1c93e2f687",
  deliveryId: "0197c3a7-71b0-7c48-a9f3-d8e6052b7c98",
  eventId: "0197c3a7-70aa-7d17-8b64-1f5d3e9a20c9",
  entryId: "0197c3a7-70aa-7d17-8b64-1f5d3e9a20c9",
  userId: "user-001",
  ownerId: "user-001",
  actorId: "user-001",
  requestId: "req-uuid-001",
  currency: "CNY",
  timezone: "Asia/Shanghai",
  total: 1,
  page: 1,
  pageSize: 20,
  nextCursor: null,
  version: 1,
  createdAt: "2026-01-31T08:00:00.000Z",
  updatedAt: "2026-01-31T08:00:00.000Z",
};

/** The content of the cell's published document besides its routes. */
export const publication = {
  title: "Cell CRM",
  description: introduction,
  tags,
  exampleValues,
};
