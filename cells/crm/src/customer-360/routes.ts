import {
  type Call,
  type Cell,
  type Condition,
  clearance,
  endpoint,
  equals,
  idParams,
  type Lists,
  readableKinds,
  settingsOf,
} from "@cell/cell";
import type { TenantDb } from "@cell/postgres";
import { badField } from "@cell/problem";
import Big from "big.js";
import { sql } from "kysely";
import { z } from "zod";
import * as contacts from "../contacts/repository.ts";
import * as contracts from "../contracts/repository.ts";
import * as customers from "../customers/repository.ts";
import { customer } from "../customers/schema.ts";
import { lists as opportunities } from "../opportunities/lists.ts";
import * as payments from "../payments/repository.ts";
import { basisOf, byCurrency, type Exchange, plainAmounts, type Sums } from "../reports/money.ts";
import { effective } from "../settings/domain.ts";
import { db } from "../tables.ts";
import { visibility } from "../visibility.ts";
import type { ReadConversations } from "./messaging.ts";
import * as repository from "./repository.ts";
import { customer360, type SectionName, sectionNames } from "./schema.ts";

const query = z.strictObject({
  include: z
    .string()
    .max(200)
    .optional()
    .meta({ description: `Only these sections, by comma: ${sectionNames.join(", ")}`, examples: ["customer,summary"] }),
  timelineCursor: z.string().max(500).optional().meta({ description: "Where the timeline's page before ended" }),
});

const getCustomer360 = endpoint({
  method: "get",
  path: "/customers/{id}/360",
  operationId: "customers.view360",
  permission: "crm:read",
  tag: "Customers",
  summary: "Everything about a customer in one answer",
  params: idParams,
  query,
  status: 200,
  answer: customer360,
});

type ViewCall = Call<{ id: string }, z.infer<typeof query>>;

/** The route of the 360 view. */
export function customer360Routes(cell: Cell, readConversations: ReadConversations): void {
  cell.read(getCustomer360, "Customer", async (call, tenant) => {
    const found = await customers.find(tenant, call.params.id, visibility(call));
    if (!found) return undefined;
    const wanted = sectionsOf(call.query.include);
    const view = new View(call, tenant, effective(await settingsOf(call.tenant)));
    const sections: Record<SectionName, () => Promise<unknown>> = {
      customer: async () => customer.present(found, clearance(call.caller, "detail"), call.tenant.tenantId),
      contacts: () => view.section("/contacts", contacts.lists),
      opportunities: () => view.opportunities(),
      contracts: () => view.contracts(),
      payments: () => view.section("/payments", payments.lists),
      timeline: () => view.timeline(),
      conversations: () => view.conversations(readConversations),
      summary: () => view.summary(),
    };
    const entries = await Promise.all(wanted.map(async (name) => [name, await sections[name]()] as const));
    return { ...Object.fromEntries(entries), generatedAt: call.now, warnings: view.warnings };
  });
}

function sectionsOf(include: string | undefined): readonly SectionName[] {
  if (include === undefined) return sectionNames;
  const names = include.split(",").map((name) => name.trim());
  const isKnown = (name: string): name is SectionName => sectionNames.some((known) => known === name);
  if (!names.every(isKnown)) throw badField("include", "INVALID_ENUM", `takes ${sectionNames.join(", ")}`);
  return names;
}

/** The sections of one customer, as one caller may see them. */
class View {
  readonly #call: ViewCall;
  readonly #tenant: TenantDb;
  readonly #exchange: Exchange;
  readonly warnings: { section: SectionName; code: string }[] = [];

  /** What the customer's opportunities come to, by currency and status. */
  readonly #pipeline = once(() =>
    opportunities.aggregate(this.#tenant, this.#request(opportunities), "by currency and status", (matches) =>
      db
        .selectFrom(matches)
        .select((eb) => [
          "currency",
          "status",
          eb.fn.countAll<number>().as("count"),
          eb.fn.sum<string>("amount").as("amount"),
          sql<string>`sum(amount * probability / 100)`.as("weighted"),
          eb.fn.min<string | null>("closedAt").as("firstClosedAt"),
        ])
        .groupBy(["currency", "status"]),
    ),
  );
  /** The timeline's first page. */
  readonly #newest = once(() => repository.timeline(this.#tenant, this.#call.params.id, undefined));

  constructor(call: ViewCall, tenant: TenantDb, exchange: Exchange) {
    this.#call = call;
    this.#tenant = tenant;
    this.#exchange = exchange;
  }

  /** The newest records of a list, under the list's own rules. */
  async section<Row extends object>(path: string, lists: Lists<Row>) {
    const { rows, total } = await lists.page(this.#tenant, this.#request(lists), { pageSize: 10, total: "exact" });
    const cleared = clearance(this.#call.caller, "list");
    return {
      total,
      items: rows.objects().map((row) => lists.listing.resource.present(row, cleared, this.#tenant.tenantId)),
      href: `/api/v1/crm${path}?customerId=${this.#call.params.id}`,
    };
  }

  async opportunities() {
    const [section, rows] = await Promise.all([this.section("/opportunities", opportunities), this.#pipeline()]);
    const count = (status: string) => rows.filter((row) => row.status === status).reduce((sum, row) => sum + row.count, 0);
    const sums = rows.map((row) => ({
      currency: row.currency,
      count: row.count,
      amounts: {
        openAmount: new Big(row.status === "open" ? row.amount : 0),
        weightedAmount: new Big(row.status === "open" ? row.weighted : 0),
        wonAmount: new Big(row.status === "won" ? row.amount : 0),
      },
    }));
    return {
      ...section,
      open: count("open"),
      won: count("won"),
      lost: count("lost"),
      ...this.#amounts(sums, ["openAmount", "weightedAmount", "wonAmount"]),
    };
  }

  async contracts() {
    const request = this.#request(contracts.lists);
    const [section, totals, active] = await Promise.all([
      this.section("/contracts", contracts.lists),
      contracts.totals(this.#tenant, this.#request(contracts.lists, contracts.agreed)),
      contracts.lists.aggregate(this.#tenant, request, "active", (matches) =>
        db.selectFrom(matches).select(sql<number>`count(*) filter (where status = 'active')`.as("active")),
      ),
    ]);
    const sums = totals.map(({ currency, count, amount, received, outstanding }) => ({
      currency,
      count,
      amounts: { amount: new Big(amount), received: new Big(received), outstanding: new Big(outstanding) },
    }));
    return { ...section, active: active[0]?.active ?? 0, ...this.#amounts(sums, ["amount", "received", "outstanding"]) };
  }

  async timeline() {
    if (!this.#call.caller.permissions.includes("audit:read")) return { forbidden: true };
    const position = this.#position();
    const items = await (position ? repository.timeline(this.#tenant, this.#call.params.id, position) : this.#newest());
    const page = items.slice(0, 10);
    const last = items.length > 10 ? page.at(-1) : undefined;
    return {
      items: page,
      nextCursor: last ? Buffer.from(JSON.stringify([this.#call.params.id, last.at, last.id])).toString("base64url") : null,
    };
  }

  async conversations(readConversations: ReadConversations) {
    const { id } = this.#call.params;
    try {
      const read = await readConversations(this.#call, id);
      if (read === "forbidden") return { forbidden: true };
      return { total: read.total, items: read.data, href: `/api/v1/messaging/conversations?customerId=${id}` };
    } catch {
      // The other cell's fault is not this one's: the caller is told that the section is missing.
      this.warnings.push({ section: "conversations", code: "UNAVAILABLE" });
      return { unavailable: true };
    }
  }

  async summary() {
    const [totals, rows, [latest]] = await Promise.all([
      payments.totals(this.#tenant, this.#request(payments.lists)),
      this.#pipeline(),
      this.#newest(),
    ]);
    const won = rows.flatMap(({ status, firstClosedAt }) => (status === "won" && firstClosedAt ? [firstClosedAt] : [])).sort();
    const sums = totals.map(({ currency, count, net }) => ({ currency, count, amounts: { lifetimeValue: new Big(net) } }));
    return {
      ...this.#amounts(sums, ["lifetimeValue"]),
      lastInteractionAt: latest?.at ?? null,
      firstWonAt: won[0] ?? null,
      openOpportunities: rows.filter((row) => row.status === "open").reduce((sum, row) => sum + row.count, 0),
    };
  }

  #request<Row extends object>(lists: Lists<Row>, ...more: Condition[]) {
    return lists.resolve({}, this.#call.caller, [equals("customerId", this.#call.params.id), ...more]);
  }

  /** Plain amounts and those by currency, hidden from who may not read amounts. */
  #amounts<Name extends string>(sums: readonly Sums[], names: readonly Name[]) {
    const basis = basisOf(sums, this.#exchange);
    const plain = plainAmounts(sums, names, basis);
    const rows = byCurrency(sums, names);
    if (readableKinds(this.#call.caller).has("amount")) return { ...plain, currency: basis.currency, byCurrency: rows };
    const hidden = Object.fromEntries(names.map((name) => [name, "****"]));
    return { ...hidden, currency: basis.currency, byCurrency: rows.map((row) => ({ ...row, ...hidden })) };
  }

  #position(): repository.TimelinePosition | undefined {
    const { timelineCursor } = this.#call.query;
    if (timelineCursor === undefined) return undefined;
    const parsed = z
      .tuple([z.literal(this.#call.params.id), z.iso.datetime(), z.string().max(100)])
      .safeParse(parsedCursor(timelineCursor));
    if (!parsed.success) throw badField("timelineCursor", "INVALID_FORMAT", "does not belong to this customer's timeline");
    const [, at, id] = parsed.data;
    return { at, id };
  }
}

/** Reads when it is first asked, and once: two sections speak of the same figures. */
function once<T>(read: () => Promise<T>): () => Promise<T> {
  let reading: Promise<T> | undefined;
  return () => {
    reading ??= read();
    return reading;
  };
}

function parsedCursor(cursor: string): unknown {
  try {
    return JSON.parse(Buffer.from(cursor, "base64url").toString());
  } catch {
    // What is no JSON fits no timeline; the check that follows says so.
    return undefined;
  }
}
