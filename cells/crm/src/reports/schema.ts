import { amountFigure, currencyCodes, id, report, sensitive, text } from "@cell/cell";
import { z } from "zod";

const moment = (what: string) =>
  z
    .string()
    .max(40)
    .optional()
    .meta({
      description: `${what}: a date, a month or a time with its offset; dates are the tenant's`,
      examples: ["2026-03-01T00:00:00Z"],
    });

const asked = {
  pipelineId: id().optional().meta({ description: "Default: the default pipeline" }),
  ownerId: text(128, 1)
    .optional()
    .meta({ description: "Only opportunities that this user owned at `asOf`; `me` for the caller's own", examples: ["me"] }),
  currency: z
    .string()
    .meta({ pattern: "^[A-Z]{3}$" })
    .refine((code) => currencyCodes.includes(code), {
      error: `must be a currency of ISO 4217: ${currencyCodes.join(", ")}`,
      params: { code: "INVALID_ENUM" },
    })
    .optional()
    .meta({ description: "Only opportunities in this currency at `asOf`", examples: ["CNY"] }),
  asOf: moment("The moment of the report, default: now; a date means its beginning"),
  reveal: z
    .enum(["amount"])
    .optional()
    .meta({
      description: "`amount` asks for amounts in the clear, as they are to who has amount:read: without it, this is 403",
      examples: ["amount"],
    }),
};
const window = {
  from: moment("Where the window begins; by default twelve months before its last day"),
  to: moment("Where the window ends, exclusive; a date or month is included whole. By default the end of the day of `asOf`"),
};

export const metricsQuery = z.strictObject(asked);
export const summaryQuery = z.strictObject({ ...asked, ...window });
export const funnelModes = ["reached", "entered", "strict"] as const;
export type FunnelMode = (typeof funnelModes)[number];
export const funnelQuery = z.strictObject({
  ...asked,
  ...window,
  mode: z.enum(funnelModes).default("reached").meta({
    description:
      "How opportunities count for a stage: `reached` it or a later one, `entered` it, or, `strict`, entered it and every one before it",
  }),
});
export const funnelReportQuery = z.strictObject({
  ...asked,
  ...window,
  groupBy: z
    .enum(["none", "owner", "month"])
    .default("none")
    .meta({ description: "The owner at `asOf`; the month of the arrival or event" }),
  format: z.enum(["json", "csv"]).default("json").meta({ description: "`csv`: as a file" }),
});
export const forecastQuery = z.strictObject({
  ...asked,
  from: moment("Where the first period begins; by default the one of `asOf`"),
  to: moment("Where the last one ends, exclusive; a date or month is included whole. By default twelve months on"),
  period: z.enum(["month", "quarter"]).default("month").meta({ description: "The length of the periods" }),
});

const count = z.int().min(0);
const percentage = z
  .number()
  .nullable()
  .meta({ description: "In percent with two decimals; null instead of a division by 0", examples: [33.33] });
const days = z
  .number()
  .nullable()
  .meta({ description: "Two decimals; null without any", examples: [36] });
const link = z.string().meta({ description: "The list of exactly the opportunities counted", examples: ["/opportunities?status=open"] });

/** An amount in the response's `currency`; null if that is null. Sensitive. */
const amount = () =>
  sensitive(
    "amount",
    z
      .string()
      .nullable()
      .meta({ description: "In the response's `currency`; null if that is null", examples: ["160000.00"] }),
  );
/** A share of amounts is as sensitive as the amounts. */
const amountShare = () =>
  amountFigure(
    z
      .number()
      .nullable()
      .meta({ description: "In percent with two decimals", examples: [52.63] }),
  );

type Amounts<Name extends string> = { [N in Name]: ReturnType<typeof amount> };

/** Amounts in the response's currency, and the same by currency. */
function amounts<const Name extends string>(...names: Name[]) {
  const fields = () => Object.fromEntries(names.map((name) => [name, amount()])) as Amounts<Name>;
  const entry = z.object({ currency: z.string().meta({ examples: ["CNY"] }), count, ...fields() });
  return { ...fields(), byCurrency: z.array(entry).meta({ description: "Never added to each other" }) };
}

const links = <const Name extends string>(...names: Name[]) =>
  z.object(Object.fromEntries(names.map((name) => [name, link])) as { [N in Name]: typeof link });

const windowSchema = z
  .object({ from: z.iso.datetime(), to: z.iso.datetime().meta({ description: "Exclusive" }) })
  .meta({ description: "The window as it was resolved" });

const echo = {
  pipelineId: z.uuid(),
  asOf: z.iso.datetime(),
  timezone: z.string().meta({ description: "The tenant's timezone, used for dates", examples: ["UTC"] }),
  currency: z
    .string()
    .nullable()
    .meta({
      description: `What plain amounts are in. With one currency in the answer it is that one; with several they are converted into the tenant's, where it has
all their rates; else it is null, and only \`byCurrency\` tells amounts`,
      examples: ["CNY"],
    }),
  converted: z.boolean().meta({ description: "Plain amounts were converted into the tenant's currency" }),
  missingRates: z.array(z.string()).meta({ description: "The currencies for which a rate is missing", examples: [["USD"]] }),
};

const stage = {
  stageId: z.string().meta({ examples: ["proposal"] }),
  name: z.string().meta({ examples: ["Proposal"] }),
  order: z.int().meta({ description: "From 1" }),
};

const closed = { ...amounts("amount"), count };

export const summary = report(
  z
    .object({
      ...echo,
      window: windowSchema.nullable(),
      stages: z.array(
        z.object({
          ...stage,
          probability: z.number(),
          count,
          ...amounts("amount", "weightedAmount"),
          avgAgeDays: days,
          avgDaysInStage: days,
          stuckCount: count,
          links: links("count", "stuckCount"),
        }),
      ),
      totals: z.object({ count, ...amounts("amount", "weightedAmount"), links: links("count") }),
      attention: z.object({ overdue: count, stuck: count, links: links("overdue", "stuck") }).meta({
        description: "Open ones whose expected close date was past, and ones longer in their stage than the tenant's `stuckAfterDays`",
      }),
      period: z
        .object({
          created: count,
          won: z.object(closed),
          lost: z.object(closed),
          winRate: percentage,
          winRateByAmount: amountShare(),
          avgSalesCycleDays: days,
          links: links("created", "won", "lost"),
        })
        .nullable()
        .meta({ description: "What happened in the window; null without `from` and `to`" }),
    })
    .meta({ id: "PipelineSummary" }),
);

const funnelFigures = {
  mode: z.enum(funnelModes),
  cohort: count.meta({ description: "Created in the window, and in this pipeline at `asOf`" }),
  won: count,
  lost: count,
  open: count,
  overallConversion: percentage.meta({ description: "won / cohort" }),
  stages: z.array(
    z.object({
      ...stage,
      count: count.meta({ description: "By `mode`; every opportunity reaches the first stage" }),
      ...amounts("amount"),
      conversionFromPrevious: percentage,
      conversionFromFirst: percentage,
      dropOff: z.int().nullable().meta({ description: "The previous stage's count minus this one's; null for the first" }),
      currentCount: count.meta({ description: "In this stage at `asOf`" }),
      lostFromHere: count.meta({
        description: "Lost at `asOf`, and this was the last stage before; the first for those that were in none",
      }),
      links: links("count", "currentCount", "lostFromHere").extend({
        dropOff: link.nullable().meta({ description: "Null for the first stage, and for `entered`, where it is a mere difference" }),
      }),
    }),
  ),
  links: links("cohort", "won", "lost", "open"),
};

export const funnel = report(z.object({ ...echo, window: windowSchema, ...funnelFigures }).meta({ id: "PipelineFunnel" }));

const outcomes = ["advanced", "lost", "regressed", "movedPipeline", "still"] as const;

const reportFigures = {
  stages: z.array(
    z.object({
      ...stage,
      entries: count.meta({ description: "Arrivals in the window: the sum of the following counts" }),
      opportunities: count.meta({ description: "Number of distinct opportunities that arrived" }),
      advanced: count.meta({ description: "Went on to a later stage, or were won" }),
      lost: count,
      regressed: count.meta({ description: "Went back to an earlier stage" }),
      movedPipeline: count,
      still: count.meta({ description: "Had not left at `asOf`" }),
      advanceRate: percentage.meta({ description: "advanced / (entries − still)" }),
      avgDays: days,
      medianDays: days,
      p90Days: days,
      links: links("entries", ...outcomes).meta({
        description: "The opportunities with such an arrival; each is listed once",
      }),
    }),
  ),
  totals: z.object({
    created: count,
    won: count,
    lost: count,
    ...amounts("wonAmount", "lostAmount"),
    winRate: percentage.meta({ description: "won / (won + lost), by the time of closing" }),
    winRateByAmount: amountShare(),
    avgSalesCycleDays: days.meta({ description: "From creation to winning" }),
    salesVelocity: amount().meta({ description: "created × average amount won × win rate / average sales cycle: money a day" }),
    links: links("created", "won", "lost"),
  }),
};

export const funnelReport = report(
  z
    .object({
      ...echo,
      window: windowSchema,
      groupBy: z.enum(["none", "owner", "month"]),
      ...reportFigures,
      groups: z
        .array(
          z.object({ group: z.string().meta({ description: "The owner's id, or the month", examples: ["2026-02"] }), ...reportFigures }),
        )
        .nullable()
        .meta({ description: "Null without `groupBy`" }),
    })
    .meta({ id: "FunnelReport" }),
);

const outside = z.object({ count, ...amounts("amount", "weightedAmount"), links: links("count") });

export const forecast = report(
  z
    .object({
      ...echo,
      window: windowSchema,
      period: z.enum(["month", "quarter"]),
      buckets: z.array(
        z.object({
          period: z.string().meta({ examples: ["2026-02"] }),
          from: z.iso.datetime(),
          to: z.iso.datetime(),
          openCount: count,
          closedWonCount: count,
          ...amounts("openAmount", "weightedAmount", "bestCase", "commit", "closedWon", "forecast"),
          links: links("open", "bestCase", "commit", "closedWon"),
        }),
      ),
      overdue: outside.meta({ description: "Open, and expected to close before `asOf`: in no bucket" }),
      undated: outside.meta({ description: "Open, without an expected close date: in no bucket" }),
    })
    .meta({ id: "Forecast" }),
);

export const metrics = report(
  z
    .object({
      ...echo,
      window: windowSchema,
      customers: count,
      opportunities: z.object({ open: count, won: count, lost: count, links: links("open", "won", "lost") }),
      winRate: percentage.meta({ description: "won / (won + lost)" }),
      conversionRate: percentage.meta({ description: "Of those created in the last twelve months, how many are won" }),
      funnel: z.object(funnelFigures),
    })
    .meta({ id: "Metrics" }),
);
