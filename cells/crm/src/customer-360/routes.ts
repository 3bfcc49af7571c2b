import { type Cell, endpoint, idParams, settingsOf, visibility } from "@cell/cell";
import { badField } from "@cell/problem";
import { z } from "zod";
import * as contacts from "../contacts/repository.ts";
import * as customers from "../customers/repository.ts";
import * as payments from "../payments/repository.ts";
import { effective } from "../settings/domain.ts";
import type { ReadConversations } from "./messaging.ts";
import { customer360, type SectionName, sectionNames } from "./schema.ts";
import { sensitive, View } from "./view.ts";

const query = z.strictObject({
  include: z
    .string()
    .max(200)
    .optional()
    .meta({ description: `Only these comma-separated sections: ${sectionNames.join(", ")}`, examples: ["customer,summary"] }),
  reveal: z
    .string()
    .max(200)
    .optional()
    .meta({
      description: `Masked fields to show, comma-separated as in lists: \`amount\` for every amount, or of ${Object.keys(sensitive).join(", ")}`,
      examples: ["amount"],
    }),
  timelineCursor: z.string().max(500).optional().meta({ description: "Where the timeline's page before ended" }),
});

const getCustomer360 = endpoint({
  method: "get",
  path: "/customers/{id}/360",
  operationId: "customers.view360",
  permission: "crm:read",
  tag: "Customers",
  summary: "Everything about a customer in one response",
  params: idParams,
  query,
  status: 200,
  response: customer360,
});

/** Route of the 360 view. */
export function customer360Routes(cell: Cell, readConversations: ReadConversations): void {
  cell.read(getCustomer360, "Customer", async (context, tenant) => {
    const found = await customers.find(tenant, context.params.id, visibility(context));
    if (!found) return undefined;
    const wanted = sectionsOf(context.query.include);
    const view = new View(context, tenant, effective(await settingsOf(context.tenant)));
    const sections: Record<SectionName, () => Promise<unknown>> = {
      customer: async () => view.customer(found),
      contacts: () => view.section("/contacts", contacts.lists),
      opportunities: () => view.opportunities(),
      contracts: () => view.contracts(),
      payments: () => view.section("/payments", payments.lists),
      timeline: () => view.timeline(),
      conversations: () => view.conversations(readConversations),
      summary: () => view.summary(),
    };
    const entries = await Promise.all(wanted.map(async (name) => [name, await sections[name]()] as const));
    if (view.revealed.length > 0) await cell.record(context, view.revealed);
    return { ...Object.fromEntries(entries), generatedAt: context.now, warnings: view.warnings };
  });
}

function sectionsOf(include: string | undefined): readonly SectionName[] {
  if (include === undefined) return sectionNames;
  const names = include.split(",").map((name) => name.trim());
  const isKnown = (name: string): name is SectionName => sectionNames.some((known) => known === name);
  if (!names.every(isKnown)) throw badField("include", "INVALID_ENUM", `takes ${sectionNames.join(", ")}`);
  return names;
}
