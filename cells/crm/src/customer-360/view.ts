import {
  type AuditDraft,
  type Condition,
  equals,
  fieldAccess,
  hasForm,
  type ListRunner,
  maskedEntry,
  type Presenter,
  type RequestContext,
  type Resource,
  type Revealed,
  resources,
  revealDrafts,
  revealedBy,
  type SensitiveKind,
  visibility,
} from "@cell/cell";
import type { TenantDb } from "@cell/postgres";
import { badField } from "@cell/problem";
import Big from "big.js";
import { sql } from "kysely";
import { z } from "zod";
import { contact } from "../contacts/schema.ts";
import * as contracts from "../contracts/repository.ts";
import { contract } from "../contracts/schema.ts";
import { type Customer, customer } from "../customers/schema.ts";
import { lists as opportunities } from "../opportunities/lists.ts";
import { opportunity } from "../opportunities/schema.ts";
import * as payments from "../payments/repository.ts";
import { payment } from "../payments/schema.ts";
import { basisOf, byCurrency, type CurrencyConverter, plainAmounts, type Sums } from "../reports/money.ts";
import { db } from "../tables.ts";
import type { ReadConversations } from "./messaging.ts";
import * as repository from "./repository.ts";
import { contractSums, lifetimeSums, opportunitySums, type SectionName, type TimelineItem } from "./schema.ts";

/** The sensitive fields of all sections. */
export const sensitive: Readonly<Record<string, SensitiveKind>> = Object.assign(
  {},
  ...[customer, contact, opportunity, contract, payment].map((resource) => resource.sensitive),
);

export type ViewContext = RequestContext<
  { id: string },
  { include?: string | undefined; reveal?: string | undefined; timelineCursor?: string | undefined }
>;

/** The sections of one customer, as the caller may see them. */
export class View {
  readonly #context: ViewContext;
  readonly #tenant: TenantDb;
  readonly #converter: CurrencyConverter;
  readonly #reveal: Revealed;
  readonly warnings: { section: SectionName; code: string }[] = [];
  /** By record. */
  readonly #revealed = new Map<string, AuditDraft>();

  /** Totals of the customer's opportunities by currency and status. */
  readonly #pipeline = memoized(async () =>
    opportunities.aggregate(this.#tenant, await this.#request(opportunities), "by currency and status", (matches) =>
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
  /** The first page of the timeline. */
  readonly #newest = memoized(() => this.#timeline(undefined));

  constructor(context: ViewContext, tenant: TenantDb, converter: CurrencyConverter) {
    this.#context = context;
    this.#tenant = tenant;
    this.#converter = converter;
    this.#reveal = revealedBy(context.query.reveal, sensitive, context.caller);
  }

  /** One audit entry for each record with revealed fields. */
  get revealed(): AuditDraft[] {
    return [...this.#revealed.values()];
  }

  customer(found: Customer) {
    const { clear } = fieldAccess(this.#context.caller, "detail");
    const cleared = { clear, revealed: this.#reveal.fields };
    this.#audit(customer, [found], clear);
    return customer.present(found, cleared, this.#tenant.tenantId);
  }

  /** The newest records of a list, under the list's own rules. */
  async section<Row extends object>(path: string, lists: ListRunner<Row>) {
    const { resource } = lists.definition;
    const page = await lists.page(this.#tenant, await this.#request(lists), { pageSize: 10, total: "exact", cursor: "" });
    const rows = page.rows.objects();
    const cleared = fieldAccess(this.#context.caller, "list", this.#reveal.fields);
    this.#audit(resource, rows, cleared.clear);
    return {
      total: page.total,
      items: rows.map((row) => resource.present(row, cleared, this.#tenant.tenantId)),
      href: `/api/v1/crm${path}?customerId=${this.#context.params.id}`,
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
      ...this.#sums(opportunitySums, sums, ["openAmount", "weightedAmount", "wonAmount"]),
    };
  }

  async contracts() {
    const [request, agreed] = await Promise.all([this.#request(contracts.lists), this.#request(contracts.lists, contracts.agreed)]);
    const [section, totals, active] = await Promise.all([
      this.section("/contracts", contracts.lists),
      contracts.totals(this.#tenant, agreed),
      contracts.lists.aggregate(this.#tenant, request, "active", (matches) =>
        db.selectFrom(matches).select(sql<number>`count(*) filter (where status = 'active')`.as("active")),
      ),
    ]);
    const sums = totals.map(({ currency, count, amount, received, outstanding }) => ({
      currency,
      count,
      amounts: { amount: new Big(amount), received: new Big(received), outstanding: new Big(outstanding) },
    }));
    return { ...section, active: active[0]?.active ?? 0, ...this.#sums(contractSums, sums, ["amount", "received", "outstanding"]) };
  }

  async timeline() {
    const position = this.#position();
    const items = await (position ? this.#timeline(position) : this.#newest());
    const page = items.slice(0, 10);
    const last = items.length > 10 ? page.at(-1) : undefined;
    return {
      items: page.map((item) => this.#item(item)),
      nextCursor: last ? Buffer.from(JSON.stringify([this.#context.params.id, last.at, last.id])).toString("base64url") : null,
    };
  }

  async conversations(readConversations: ReadConversations) {
    const { id } = this.#context.params;
    try {
      const read = await readConversations(this.#context, id);
      if (read === "forbidden") return { forbidden: true };
      return { total: read.total, items: read.data, href: `/api/v1/messaging/conversations?customerId=${id}` };
    } catch {
      // A fault of the other cell must not fail this one: a warning names the missing section.
      this.warnings.push({ section: "conversations", code: "UNAVAILABLE" });
      return { unavailable: true };
    }
  }

  async summary() {
    const [totals, rows, [latest]] = await Promise.all([
      this.#request(payments.lists).then((request) => payments.totals(this.#tenant, request)),
      this.#pipeline(),
      this.#newest(),
    ]);
    const won = rows.flatMap(({ status, firstClosedAt }) => (status === "won" && firstClosedAt ? [firstClosedAt] : [])).sort();
    const sums = totals.map(({ currency, count, net }) => ({ currency, count, amounts: { lifetimeValue: new Big(net) } }));
    return {
      ...this.#sums(lifetimeSums, sums, ["lifetimeValue"]),
      lastInteractionAt: latest?.at ?? null,
      firstWonAt: won[0] ?? null,
      openOpportunities: rows.filter((row) => row.status === "open").reduce((sum, row) => sum + row.count, 0),
    };
  }

  #request<Row extends object>(lists: ListRunner<Row>, ...more: Condition[]) {
    return lists.resolve(this.#context.tenant, {}, this.#context.caller, [equals("customerId", this.#context.params.id), ...more]);
  }

  #timeline(before: repository.TimelinePosition | undefined) {
    return repository.timeline(this.#tenant, this.#context.params.id, visibility(this.#context), before);
  }

  /** An item as the caller may see it: its changes masked as in a list, and the request's origin only for readers of the audit trail. */
  #item({ requestId, ip, userAgent, ...item }: TimelineItem) {
    this.#auditItem(item);
    const shown = maskedEntry(item, resources.get(item.resourceType), fieldAccess(this.#context.caller, "list", this.#reveal.fields));
    return this.#context.caller.permissions.includes("audit:read") ? { ...shown, requestId, ip, userAgent } : shown;
  }

  /** Totals in one currency and by currency: masked as in the detail response. */
  #sums(of: Presenter, rows: readonly Sums[], names: readonly string[]): object {
    const basis = basisOf(rows, this.#converter);
    const amounts = { ...plainAmounts(rows, names, basis), currency: basis.currency, byCurrency: byCurrency(rows, names) };
    return of.present(amounts, fieldAccess(this.#context.caller, "detail"), this.#tenant.tenantId);
  }

  /** Audits records whose personal data are revealed on request. */
  #audit<Row extends object>(resource: Resource<Row>, rows: readonly Row[], clear: ReadonlySet<SensitiveKind>): void {
    const fields = this.#reveal.audited.filter((field) => {
      const kind = resource.sensitive[field];
      return kind !== undefined && !clear.has(kind);
    });
    for (const draft of revealDrafts(resource, rows, fields)) this.#addRevealed(draft);
  }

  /** Audits a record whose earlier values a timeline item reveals on request: they are masked otherwise. */
  #auditItem({
    resourceType,
    resourceId,
    resourceName,
    changes,
  }: Pick<TimelineItem, "resourceType" | "resourceId" | "resourceName" | "changes">) {
    const fields = this.#reveal.audited.filter((name) => changes.some(({ field }) => field === name));
    if (fields.length === 0) return;
    const named = fields.map((field) => ({ field, before: null, after: null }));
    this.#addRevealed({ action: "reveal", resourceType, resourceId, resourceName, resourceVersion: null, changes: named });
  }

  #addRevealed(draft: AuditDraft): void {
    const key = `${draft.resourceType} ${draft.resourceId}`;
    const known = this.#revealed.get(key);
    const added = draft.changes.filter(({ field }) => !known?.changes.some((change) => change.field === field));
    this.#revealed.set(key, known ? { ...known, changes: [...known.changes, ...added] } : draft);
  }

  #position(): repository.TimelinePosition | undefined {
    const { timelineCursor } = this.#context.query;
    if (timelineCursor === undefined) return undefined;
    const parsed = z
      .tuple([z.literal(this.#context.params.id), z.string().refine((at) => hasForm("time", at)), z.string().regex(/^[\w/-]{1,100}$/)])
      .safeParse(parsedCursor(timelineCursor));
    if (!parsed.success) throw badField("timelineCursor", "INVALID_FORMAT", "does not belong to this customer's timeline");
    const [, at, id] = parsed.data;
    return { at, id };
  }
}

/** Reads at the first call, and only once: two sections use the same figures. */
function memoized<T>(read: () => Promise<T>): () => Promise<T> {
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
    // Invalid JSON is not a cursor; the check that follows rejects it.
    return undefined;
  }
}
