import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Measured } from "./rounds.ts";
import { isVoid, median, ratiosByRound, type Spread, spreadOf } from "./statistics.ts";

/** A goal, and whether it was reached; undefined if it could not be measured. */
export interface Goal {
  text: string;
  reached: boolean | undefined;
}

/** A line of the report. */
export interface Line {
  workload: string;
  what: string;
  /** The unit of the compared value; requests, transactions or rows per second, or milliseconds. */
  unit: string;
  value: Spread;
  limit: (Spread & { name: string }) | undefined;
  /** Per round: the value divided by the limit. */
  ratio: Spread | undefined;
  isVoid: boolean;
  p50Ms: number | undefined;
  p99Ms: number | undefined;
  maxMs: number | undefined;
  cpuUs: Record<string, number>;
  errors: number;
  seen: Record<string, number>;
  goals: Goal[];
}

type Measure = "perSecond" | "p50Ms" | "p99Ms" | "maxMs";
const units: Record<Measure, string> = { perSecond: "/s", p50Ms: "ms p50", p99Ms: "ms p99", maxMs: "ms max" };

/** Compares a side with its limit; `goals` receive the line so far. */
export function compare(
  workload: string,
  side: Measured,
  limit: Measured | undefined,
  goals: (line: Line) => Goal[] = () => [],
  measure: Measure = "perSecond",
): Line {
  const values = side.samples.map((sample) => sample[measure] ?? Number.NaN);
  const limits = limit?.samples.map((sample) => sample[measure] ?? Number.NaN);
  const middle = (field: "p50Ms" | "p99Ms" | "maxMs") => {
    const known = side.samples.flatMap((sample) => sample[field] ?? []);
    return known.length > 0 ? median(known) : undefined;
  };
  const line: Line = {
    workload,
    what: side.name,
    unit: units[measure],
    value: spreadOf(values),
    limit: limit && limits ? { name: limit.name, ...spreadOf(limits) } : undefined,
    ratio: limits && spreadOf(ratiosByRound(values, limits)),
    isVoid: limits !== undefined && isVoid(limits),
    p50Ms: middle("p50Ms"),
    p99Ms: middle("p99Ms"),
    maxMs: middle("maxMs"),
    cpuUs: medians(side, "cpuUs"),
    errors: side.samples.reduce((sum, { errors }) => sum + errors, 0),
    seen: medians(side, "seen"),
    goals: [],
  };
  // A run with errors cannot reach a goal.
  line.goals = goals(line).map((goal) => (line.errors > 0 ? { ...goal, reached: false } : goal));
  return line;
}

/** The median over the rounds, by name. */
function medians({ samples }: Measured, field: "cpuUs" | "seen"): Record<string, number> {
  const names = new Set(samples.flatMap((sample) => Object.keys(sample[field] ?? {})));
  return Object.fromEntries([...names].map((name) => [name, median(samples.flatMap((sample) => sample[field]?.[name] ?? []))]));
}

export function atLeast(what: string, value: number | undefined, bound: number): Goal {
  return { text: `${what} ≥ ${bound}`, reached: value === undefined ? undefined : value >= bound };
}

export function atMost(what: string, value: number | undefined, bound: number): Goal {
  return { text: `${what} ≤ ${bound}`, reached: value === undefined ? undefined : value <= bound };
}

/** The report as a Markdown table. */
export function markdown(lines: readonly Line[]): string {
  const head = "| | what | measured | limit | ratio [min..max] | p50 / p99 / max ms | CPU µs each | seen | goal | reached |";
  const rows = lines.map((line) => {
    const { limit, ratio } = line;
    const cells = [
      line.workload,
      line.what,
      `${figure(line.value.median)} ${line.unit}`,
      limit ? `${figure(limit.median)} [${figure(limit.min)}..${figure(limit.max)}] ${limit.name}` : "–",
      ratio ? `${ratio.median.toFixed(2)} [${ratio.min.toFixed(2)}..${ratio.max.toFixed(2)}]${line.isVoid ? " VOID" : ""}` : "–",
      [line.p50Ms, line.p99Ms, line.maxMs].map((ms) => (ms === undefined ? "–" : figure(ms))).join(" / "),
      named(line.cpuUs),
      [named(line.seen), line.errors > 0 ? `${line.errors} ERRORS` : ""].filter(Boolean).join(", "),
      line.goals.map(({ text }) => text).join("; "),
      line.goals.map(({ reached }) => (reached === undefined ? "?" : reached ? "yes" : "no")).join("; "),
    ];
    return `| ${cells.join(" | ")} |`;
  });
  return [head, `|${" --- |".repeat(10)}`, ...rows].join("\n");
}

function named(values: Record<string, number>): string {
  return Object.entries(values)
    .map(([name, value]) => `${name} ${figure(value)}`)
    .join(", ");
}

function figure(value: number): string {
  if (!Number.isFinite(value)) return "?";
  if (Math.abs(value) >= 10_000) return `${(value / 1000).toFixed(1)}k`;
  return Math.abs(value) >= 100 ? value.toFixed(0) : value.toPrecision(3);
}

/** Writes `<time>.md` and `<time>.json`; returns the first one's path. */
export function writeReport(dir: string, about: Record<string, unknown>, lines: readonly Line[], failures: readonly string[]): string {
  const name = new Date().toISOString().replaceAll(":", "-").slice(0, 19);
  const facts = Object.entries(about).map(([fact, value]) => `- ${fact}: ${typeof value === "string" ? value : JSON.stringify(value)}`);
  const failed = failures.map((failure) => `- FAILED: ${failure}`);
  writeFileSync(join(dir, `${name}.md`), `${[...facts, ...failed, "", markdown(lines)].join("\n")}\n`);
  writeFileSync(join(dir, `${name}.json`), `${JSON.stringify({ about, lines, failures }, null, 2)}\n`);
  return join(dir, `${name}.md`);
}
