import { defineWebhooks, type EventCatalogue, type TrailEntry } from "@cell/cell";

const types = [
  { type: "customer.created", summary: "A customer was created" },
  { type: "customer.updated", summary: "A customer was changed", exampleChanges: [{ field: "status", before: "lead", after: "active" }] },
  { type: "customer.deleted", summary: "A customer was deleted" },
  { type: "customer.restored", summary: "A deleted customer was restored" },
  {
    type: "customer.merged",
    summary: "Customers were merged: one event for the survivor, and one for each merged customer",
  },
  { type: "contact.created", summary: "A contact was created" },
  { type: "contact.updated", summary: "A contact was changed" },
  { type: "contact.deleted", summary: "A contact was deleted" },
  { type: "pipeline.created", summary: "A pipeline was created" },
  { type: "pipeline.updated", summary: "A pipeline was changed" },
  { type: "opportunity.created", summary: "An opportunity was created" },
  { type: "opportunity.updated", summary: "An opportunity was changed" },
  { type: "opportunity.deleted", summary: "An opportunity was deleted" },
  {
    type: "opportunity.stage_changed",
    summary: "An opportunity moved to another stage or pipeline",
    exampleChanges: [
      { field: "stage", before: "qualification", after: "proposal" },
      { field: "probability", before: 20, after: 50 },
    ],
  },
  { type: "opportunity.won", summary: "An opportunity was won", exampleChanges: [{ field: "status", before: "open", after: "won" }] },
  { type: "opportunity.lost", summary: "An opportunity was lost", exampleChanges: [{ field: "status", before: "open", after: "lost" }] },
  { type: "contract.created", summary: "A contract was created" },
  { type: "contract.updated", summary: "A contract was changed" },
  { type: "contract.deleted", summary: "A contract was deleted" },
  { type: "payment.registered", summary: "A payment or a refund was recorded" },
  { type: "payment.voided", summary: "A payment was voided", exampleChanges: [{ field: "status", before: "received", after: "void" }] },
  { type: "import.completed", summary: "An import was completed" },
  { type: "import.reverted", summary: "An import was reverted" },
  { type: "settings.updated", summary: "The tenant's settings were changed" },
] as const satisfies EventCatalogue["types"];

const known: ReadonlySet<string> = new Set(types.map(({ type }) => type));

const verbs: Readonly<Record<string, string>> = {
  create: "created",
  update: "updated",
  delete: "deleted",
  restore: "restored",
  merge: "merged",
  void: "voided",
  settings: "updated",
};
/** Events whose names cannot be derived from the action. */
const words: Readonly<Record<string, string>> = {
  "payment.created": "payment.registered",
  "import.restored": "import.reverted",
};

/** The general event of an entry comes first. */
export function eventsOf({ action, resourceType, changes }: TrailEntry): string[] {
  const after = (field: string) => changes.find((change) => change.field === field)?.after;
  // A dry run has changed nothing.
  if (action === "import" && after("dryRun") === true) return [];
  const verb = action === "import" ? "completed" : verbs[action];
  const name = `${resourceType}.${verb}`;
  const events: string[] = [words[name] ?? name];
  // Older audit trails record a void as an update.
  if (resourceType === "payment" && action === "update" && after("status") === "void") events.push("payment.voided");
  if (resourceType === "opportunity" && action === "update" && changes.some(({ field }) => field === "stage" || field === "pipelineId"))
    events.push("opportunity.stage_changed");
  if (resourceType === "opportunity" && after("status") === "won") events.push("opportunity.won");
  if (resourceType === "opportunity" && after("status") === "lost") events.push("opportunity.lost");
  return events.filter((event) => known.has(event));
}

/** The webhooks of this cell. */
export const webhooks = defineWebhooks({
  types,
  eventsOf,
  severalEvents: "A change can be several: a won opportunity is\n`opportunity.updated`, `opportunity.stage_changed` and `opportunity.won`.",
  examples: { url: "https://hooks.example.com/crm", types: ["customer.created", "opportunity.won"], resourceName: "某某公司" },
  metricPrefix: "crm",
  userAgent: "Cell-CRM-Webhooks/1",
});
