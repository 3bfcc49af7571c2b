import {
  type Cell,
  cachedQuery,
  checkKnown,
  dayAt,
  endpoint,
  fieldAccess,
  type RequestContext,
  type RequestContextOf,
  revealedBy,
  settingsOf,
  visibility,
} from "@cell/cell";
import { latin1, sendWhole } from "@cell/http";
import type { TenantDb } from "@cell/postgres";
import type { z } from "zod";
import { customer } from "../customers/schema.ts";
import { knownPipelines } from "../pipelines/known.ts";
import { effective, type Settings } from "../settings/domain.ts";
import { funnelOf } from "./cohort-funnel.ts";
import { type Link, linksTo } from "./drill-down-links.ts";
import { exampleOf } from "./examples.ts";
import { forecastOf } from "./forecast.ts";
import { funnelCsv } from "./funnel-csv.ts";
import { funnelReportOf } from "./funnel-report.ts";
import { metricsOf } from "./metrics.ts";
import { summaryOf } from "./pipeline-summary.ts";
import { cohortOf } from "./queries/cohort.ts";
import { ever } from "./queries/daily-aggregates.ts";
import { sumEvents } from "./queries/events.ts";
import { sumStages } from "./queries/open-pipeline.ts";
import type { Question } from "./queries/opportunity-states.ts";
import { ReportReader, type RunInBackground } from "./queries/report-reader.ts";
import * as reports from "./queries/repository.ts";
import { sumStageDurations } from "./queries/stage-durations.ts";
import {
  forecast,
  forecastQuery,
  funnel,
  funnelQuery,
  funnelReport,
  funnelReportQuery,
  metrics,
  metricsQuery,
  summary,
  summaryQuery,
} from "./schema.ts";
import { asOfOf, bucketsOf, daysOf, forecastWindowOf, windowOf } from "./time-window.ts";

const common = { method: "get", permission: "report:read", status: 200, isLong: true, gateway: { slow: true } } as const;
const tag = "Reports";

const getMetrics = endpoint({
  ...common,
  path: "/metrics",
  operationId: "metrics.get",
  tag,
  summary: "The tenant's key figures",
  description:
    "Prometheus reads the figures of the process itself on METRICS_PORT, or at this path of the cell's own address with METRICS_TOKEN.",
  query: metricsQuery,
  response: metrics,
  example: () => exampleOf("/metrics"),
});

const getSummary = endpoint({
  ...common,
  path: "/pipeline/summary",
  operationId: "reports.pipelineSummary",
  tag,
  summary: "Pipeline summary",
  query: summaryQuery,
  response: summary,
  example: () => exampleOf("/pipeline/summary"),
});

const getFunnel = endpoint({
  ...common,
  path: "/pipeline/funnel",
  operationId: "reports.pipelineFunnel",
  tag,
  summary: "Funnel by creation cohort",
  query: funnelQuery,
  response: funnel,
  example: () => exampleOf("/pipeline/funnel"),
});

const getFunnelReport = endpoint({
  ...common,
  path: "/reports/funnel",
  tag,
  summary: "Funnel by activity in a window",
  query: funnelReportQuery,
  response: funnelReport,
  example: () => exampleOf("/reports/funnel"),
  produces: ["text/csv"],
});

const getForecast = endpoint({
  ...common,
  path: "/opportunities/forecast",
  tag,
  summary: "Forecast of wins",
  description: "Open opportunities by their expected close dates, won ones by the time of winning, lost ones nowhere.",
  query: forecastQuery,
  response: forecast,
  example: () => exampleOf("/opportunities/forecast"),
});

const dayMs = 24 * 60 * 60 * 1000;

type ReportContext = RequestContext<unknown, z.infer<typeof metricsQuery>>;

/** A report's resolved question. */
interface Asked {
  question: Question;
  stages: reports.StageRow[];
  settings: Settings;
  timezone: string;
  link: Link;
  reader: ReportReader;
  /** The part of every response that repeats the question. */
  echo: { pipelineId: string; asOf: string; timezone: string };
}

/**
 * Routes of reports. All report the state at `asOf`: the same question always gets the same response, whatever changes later; imported
 * histories count as part of the history.
 */
export function reportRoutes(cell: Cell): void {
  const ask = (context: ReportContext, tenant: TenantDb) =>
    resolve(context, tenant, (work) => cell.later("storing a report's aggregates", work));

  cell.read(getSummary, "Pipeline", async (context, tenant) => {
    const { question, stages, settings, timezone, link, echo, reader } = await ask(context, tenant);
    const hasWindow = context.query.from !== undefined || context.query.to !== undefined;
    const window = hasWindow ? windowOf(context.query, timezone, question.asOf) : null;
    const stuckBefore = new Date(Date.parse(question.asOf) - settings.stuckAfterDays * dayMs).toISOString();
    const today = dayAt(question.asOf, timezone);
    const [open, events] = await Promise.all([sumStages(reader, { stuckBefore, today }), window ? sumEvents(reader, "none", window) : []]);
    return { ...echo, ...summaryOf({ stages, open, events, window, stuckBefore, today, converter: settings, link }) };
  });

  cell.read(getFunnel, "Pipeline", async (context, tenant) => {
    const { question, stages, settings, timezone, link, echo, reader } = await ask(context, tenant);
    const window = windowOf(context.query, timezone, question.asOf);
    const sums = await cohortOf(reader, window);
    return { ...echo, ...funnelOf({ stages, sums, mode: context.query.mode, window, converter: settings, link }) };
  });

  const funnelReportResponse = async (context: RequestContextOf<typeof getFunnelReport>, tenant: TenantDb) => {
    const { groupBy } = context.query;
    const { question, stages, settings, timezone, link, echo, reader } = await ask(context, tenant);
    const window = windowOf(context.query, timezone, question.asOf);
    const months = groupBy === "month" ? bucketsOf(window, timezone, "month") : [];
    const bounds = boundsOf(months);
    const [durations, events] = await Promise.all([sumStageDurations(reader, "none", window), sumEvents(reader, groupBy, window, bounds)]);
    // One after the other: with very many opportunities, each would slow the other down.
    const grouped = groupBy === "none" ? [] : await sumStageDurations(reader, groupBy, window, bounds);
    return { ...echo, ...funnelReportOf({ stages, durations, grouped, events, groupBy, window, months, converter: settings, link }) };
  };
  cell.stream(getFunnelReport, async (context, headers) => {
    const row = await cell.inTime(context, (tenant) => funnelReportResponse(context, tenant));
    const body = funnelReport.present(row, fieldAccess(context.caller, "detail"), context.tenant.tenantId);
    const file = { "content-type": "text/csv; charset=utf-8", "content-disposition": 'attachment; filename="funnel.csv"' };
    const isFile = context.query.format === "csv";
    const text = isFile ? funnelCsv(body as typeof row) : JSON.stringify(body);
    return sendWhole(context.context.env.outgoing, 200, isFile ? { ...headers, ...file } : headers, latin1(text));
  });

  cell.read(getForecast, "Pipeline", async (context, tenant) => {
    const { question, settings, timezone, link, echo, reader } = await ask(context, tenant);
    const { period } = context.query;
    const window = forecastWindowOf(context.query, timezone, question.asOf, period);
    const buckets = bucketsOf(window, timezone, period);
    const days = [...buckets.map((bucket) => daysOf(bucket, timezone).fromDay), daysOf(window, timezone).toDay];
    const today = dayAt(question.asOf, timezone);
    const times = { today, bounds: boundsOf(buckets), days };
    const sums = await reports.sumForecast(reader, times);
    return { ...echo, ...forecastOf({ sums, window, period, buckets, days, today, converter: settings, link }) };
  });

  cell.read(getMetrics, "Pipeline", async (context, tenant) => {
    const { question, stages, settings, timezone, link, echo, reader } = await ask(context, tenant);
    const { asOf, visibleTo, ownerId } = question;
    const window = windowOf({}, timezone, asOf);
    // For current data, customers created by a clock ahead of ours count too.
    const counted = () => reports.countCustomers(tenant, { ...question, asOf: context.query.asOf === undefined ? "infinity" : asOf });
    const [sums, cohort, customers] = await Promise.all([
      cohortOf(reader, ever),
      cohortOf(reader, window),
      context.query.asOf === undefined ? cachedQuery(tenant, [customer.type], ["count", visibleTo, ownerId], counted) : counted(),
    ]);
    return { ...echo, ...metricsOf({ stages, sums, cohort, customers: customers[0]?.count ?? 0, window, converter: settings, link }) };
  });
}

async function resolve(context: ReportContext, tenant: TenantDb, runInBackground: RunInBackground): Promise<Asked> {
  const { query, caller } = context;
  revealedBy(query.reveal, { amount: "amount" }, caller);
  const settings = effective(await settingsOf(context.tenant));
  const { timezone } = settings;
  const asOf = asOfOf(query, timezone, context.now);
  const stages = await reports.stagesOf(tenant, query.pipelineId ?? null);
  const pipelineId = stages[0]?.pipelineId;
  if (pipelineId === undefined) {
    const asked = query.pipelineId === undefined ? [] : [query.pipelineId];
    await checkKnown("pipelineId", knownPipelines, asked, context.tenant);
    throw new Error(`a pipeline of ${context.tenant.tenantId} has no stages`);
  }
  const numbered = [...stages].sort((one, other) => one.number - other.number);
  const question = {
    pipelineId,
    visibleTo: visibility(context),
    ownerId: (query.ownerId === "me" ? caller.userId : query.ownerId) ?? null,
    currency: query.currency ?? null,
    asOf,
    stages: numbered.map(({ stage }) => stage),
    positions: numbered.map(({ position }) => position),
  };
  return {
    question,
    reader: new ReportReader(tenant, question, query.asOf === undefined, runInBackground),
    stages,
    settings,
    timezone,
    link: linksTo(question),
    echo: { pipelineId, asOf, timezone },
  };
}

/** The beginnings of the buckets, and the last one's end. */
function boundsOf(buckets: readonly { from: string; to: string }[]): string[] {
  const last = buckets.at(-1);
  return last ? [...buckets.map(({ from }) => from), last.to] : [];
}
