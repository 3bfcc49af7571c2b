import { type Presenter, report, response, sensitive } from "@cell/cell";
import { z } from "zod";
import { contact } from "../contacts/schema.ts";
import { contract } from "../contracts/schema.ts";
import { customer } from "../customers/schema.ts";
import { opportunity } from "../opportunities/schema.ts";
import { payment } from "../payments/schema.ts";

export const sectionNames = [
  "customer",
  "contacts",
  "opportunities",
  "contracts",
  "payments",
  "timeline",
  "conversations",
  "summary",
] as const;
export type SectionName = (typeof sectionNames)[number];

const amount = () =>
  sensitive(
    "amount",
    z
      .string()
      .nullable()
      .meta({ examples: ["120000.00"] }),
  );
const forbidden = z.strictObject({ forbidden: z.literal(true).meta({ description: "The caller may not read this section" }) });

/** Totals of a section's records, in one currency and by currency. */
function sums<Names extends string>(...names: Names[]) {
  const fields = Object.fromEntries(names.map((name) => [name, amount()])) as Record<Names, ReturnType<typeof amount>>;
  return report(
    z.object({
      ...fields,
      currency: z
        .string()
        .nullable()
        .meta({ description: "Currency of the plain amounts; null, like them, if there are several currencies and a rate is missing" }),
      byCurrency: z.array(z.object({ currency: z.string(), count: z.int(), ...fields })).meta({ description: "Never added to each other" }),
    }),
  );
}

export const opportunitySums = sums("openAmount", "weightedAmount", "wonAmount");
export const contractSums = sums("amount", "received", "outstanding");
export const lifetimeSums = sums("lifetimeValue");

function shapeOf<Row extends object>({ responseSchema: schema }: Presenter<Row>): z.ZodRawShape {
  return (schema as z.ZodObject).shape;
}

function section(item: z.ZodType, more: z.ZodRawShape = {}) {
  return z.object({
    total: z.int(),
    items: z.array(item).meta({ description: "The 10 newest" }),
    href: z
      .string()
      .meta({ description: "The whole list", examples: ["/contacts?filter=customerId[eq]:0197c3a2-7c1e-7b1a-9d53-0d6b6a1f2c10"] }),
    ...more,
  });
}

const timelineItem = z
  .object({
    at: z.iso.datetime(),
    type: z.enum(["change", "stage", "payment", "message"]),
    id: z.string().meta({ examples: ["0197c3a7-70aa-7d17-8b64-1f5d3e9a20c9"] }),
    actorId: z
      .string()
      .nullable()
      .meta({ examples: ["user-001"] }),
    resourceType: z.string().meta({ examples: ["customer"] }),
    resourceId: z.string().meta({ examples: ["0197c3a2-7c1e-7b1a-9d53-0d6b6a1f2c10"] }),
    resourceName: z
      .string()
      .nullable()
      .meta({ examples: ["某某公司"] }),
    action: z.string().meta({ examples: ["update"] }),
    details: z
      .array(z.string())
      .meta({ description: "The fields that changed; the stages from and to; the kind of a payment", examples: [["status"]] }),
    changes: z.array(z.object({ field: z.string(), before: z.unknown(), after: z.unknown() })).meta({
      description: "The changed fields, masked as in lists; `reveal=amount` clears amounts",
      examples: [[{ field: "status", before: "lead", after: "active" }]],
    }),
    requestId: z.string().nullable().optional().meta({ description: "Only for callers with audit:read, like the next two fields" }),
    ip: z.string().nullable().optional(),
    userAgent: z.string().nullable().optional(),
    _masked: z.array(z.string()).meta({ description: "The fields whose changes are masked", examples: [["contactPhone"]] }),
  })
  .meta({ id: "TimelineItem" });
export type TimelineItem = Required<Omit<z.infer<typeof timelineItem>, "_masked">>;

export const customer360 = response(
  z
    .object({
      customer: customer.responseSchema.optional(),
      contacts: section(contact.responseSchema).optional(),
      opportunities: section(opportunity.responseSchema, {
        open: z.int(),
        won: z.int(),
        lost: z.int(),
        ...shapeOf(opportunitySums),
      }).optional(),
      contracts: section(contract.responseSchema, { active: z.int(), ...shapeOf(contractSums) })
        .optional()
        .meta({ description: "Its amounts are of contracts that are neither drafts nor void" }),
      payments: section(payment.responseSchema).optional(),
      timeline: z
        .object({ items: z.array(timelineItem), nextCursor: z.string().nullable() })
        .optional()
        .meta({ description: "Changes, stage moves, payments and messages of records that the caller may see, newest first" }),
      conversations: z
        .union([section(z.record(z.string(), z.unknown())), z.strictObject({ unavailable: z.literal(true) }), forbidden])
        .optional()
        .meta({ description: "From the messaging cell" }),
      summary: z
        .object({
          ...shapeOf(lifetimeSums),
          lastInteractionAt: z.iso.datetime().nullable(),
          firstWonAt: z.iso.datetime().nullable(),
          openOpportunities: z.int(),
        })
        .optional(),
      generatedAt: z.iso.datetime(),
      warnings: z
        .array(z.object({ section: z.string(), code: z.string() }))
        .meta({ examples: [[{ section: "conversations", code: "UNAVAILABLE" }]] }),
    })
    .meta({ id: "Customer360" }),
);
