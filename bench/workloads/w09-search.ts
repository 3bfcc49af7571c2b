import { randomBytes } from "node:crypto";
import { type Bench, gets, type Workload } from "../harness/bench.ts";
import { capture, scriptOf } from "../harness/capture.ts";
import { call } from "../harness/client.ts";
import { ensureMany, rareChinese, rareWord, tenants } from "../harness/data.ts";
import { oneByOne } from "../harness/one-by-one.ts";
import { atMost, compare, type Line } from "../harness/report.ts";

const tenantId = tenants.many;
const keywords = {
  rare: rareWord,
  "rare Chinese": rareChinese,
  common: "wholesale",
  "common Chinese": "有限公司",
  "two characters, all match": "公司",
  "two characters, some match": "a7",
  "two characters, none match": "qz",
  "none match": "xylophone",
  "of a space and single characters, none match": "g m",
} as const;

/**
 * The first page of a keyword search among 1,000,000 customers, one caller at a time. Limit: the same statements in pgbench. Goals: 1.5 ms
 * in the middle and never more than 50. For comparison with no goal of the middle, parts of the hexadecimal digits in the notes that nobody
 * has asked for before, whose matches have to be counted.
 */
export const search: Workload = {
  id: "W9",
  title: "keyword search",
  async run(bench) {
    await ensureMany(bench.stack, bench.log);
    const lines: Line[] = [];
    const some = Object.entries(keywords).slice(0, bench.config.smoke ? 2 : undefined);
    for (const [name, keyword] of some) lines.push(await searched(bench, name, keyword));
    for (const length of [3, 6]) lines.push(await neverAsked(bench, length));
    return lines;
  },
};

async function searched(bench: Bench, name: string, keyword: string): Promise<Line> {
  const path = `/customers?keyword=${encodeURIComponent(keyword)}`;
  const captured = await capture(bench.stack, tenantId, () => call(bench.stack, tenantId, path));
  const { limit, product } = await bench.measure(
    {
      limit: bench.sql("pgbench, same statements", tenantId, scriptOf(captured, new Map(), ""), { connections: 1, latencies: true }),
      product: bench.throughGateway(`keyword: ${name}`, tenantId, gets([path]), 1),
    },
    Math.min(2, bench.config.seconds),
  );
  const goals = (line: Line) => [atMost("ms p50", line.p50Ms, 1.5), atMost("ms max", line.maxMs, 50)];
  return compare("W9", product, limit, goals, "p50Ms");
}

async function neverAsked(bench: Bench, length: number): Promise<Line> {
  const keyword = () => randomBytes(length).toString("hex").slice(0, length);
  const side = oneByOne(bench, tenantId, `keyword: ${length} digits never asked before`, () => `/customers?keyword=${keyword()}`);
  const { product } = await bench.measure({ product: side }, Math.min(2, bench.config.seconds));
  return compare("W9", product, undefined, (line) => [atMost("ms max", line.maxMs, 50)], "p50Ms");
}
