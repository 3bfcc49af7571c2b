import type { TestClient, TestRequest } from "@cell/cell/testing/test-cell";
import { describe, expect, test } from "vitest";
import { tenantPerFile } from "./testing/tenants.ts";
import { inspect } from "./testing/test-crm.ts";

const kilobyte = 1024;
const megabyte = 1024 * kilobyte;

/** What a request may cost, compared with an ordinary one of the same size in the same place, and with its own bytes. */
const budgets = {
  cpuRatio: 6,
  /** A short row costs nearly what a long one costs. */
  importCpuRatio: 5,
  cpuFloorMs: 40,
  storedBytesPerByte: 8,
  storedFloorBytes: 1.5 * megabyte,
  memoryPerByte: 40,
  memoryFloorBytes: 96 * megabyte,
};

let tenantId: string;
let admin: TestClient;
let customerId: string;

tenantPerFile(async (given) => {
  ({ tenantId, admin } = given);
  ({ customerId } = (await admin.post("/customers", { body: { name: "Target" } })).body);
});

interface Cost {
  cpuMs: number;
  storedBytes: number;
  memoryBytes: number;
  status: number;
}

/** Bytes in the tables in which a request's response, records, trail and failed rows are stored. */
async function storedBytes(): Promise<number> {
  const [row] = await inspect<{ bytes: string }>(
    tenantId,
    `select (select coalesce(sum(octet_length(body)), 0) from $tenant.idempotency_keys)
       + (select coalesce(sum(octet_length(changes::text)), 0) from $tenant.audit_logs)
       + (select coalesce(sum(pg_column_size(batch.*)), 0) from $tenant.import_batches batch)
       + (select coalesce(sum(pg_column_size(failure.*)), 0) from $tenant.import_failures failure)
       + (select coalesce(sum(pg_column_size(customer.*)), 0) from $tenant.customers customer) as bytes`,
  );
  return Number(row?.bytes);
}

/** CPU and memory of this process, in which the cell runs. */
async function runOf(method: string, path: string, request: TestRequest): Promise<Omit<Cost, "storedBytes">> {
  const { maxRSS } = process.resourceUsage();
  const before = process.cpuUsage();
  const { status } = await admin.send(method, path, request);
  const { user, system } = process.cpuUsage(before);
  const memoryBytes = (process.resourceUsage().maxRSS - maxRSS) * kilobyte;
  return { status, cpuMs: (user + system) / 1000, memoryBytes };
}

/** The cheaper of two runs, with half of what both stored: what happens beside them is not their cost. */
async function costOf(method: string, path: string, make: () => TestRequest): Promise<Cost> {
  const stored = await storedBytes();
  const [first, second] = [await runOf(method, path, make()), await runOf(method, path, make())];
  return { ...(second.cpuMs < first.cpuMs ? second : first), storedBytes: ((await storedBytes()) - stored) / 2 };
}

/** What of a cost is over its budget. */
function excesses(name: string, cost: Cost, ordinary: Cost, sizeBytes: number, cpuRatio: number): string[] {
  const limits = {
    cpuMs: budgets.cpuFloorMs + cpuRatio * ordinary.cpuMs,
    storedBytes: budgets.storedFloorBytes + budgets.storedBytesPerByte * sizeBytes,
    memoryBytes: budgets.memoryFloorBytes + budgets.memoryPerByte * sizeBytes,
  };
  const over = (Object.keys(limits) as (keyof typeof limits)[]).filter((measure) => cost[measure] > limits[measure]);
  const failed = cost.status >= 500 ? [`${name}: status ${cost.status}`] : [];
  return [...failed, ...over.map((measure) => `${name}: ${measure} ${Math.round(cost[measure])} of ${Math.round(limits[measure])}`)];
}

/** Texts that cost other programs more than their length. */
const patterns: Record<string, string> = {
  "combining marks": "\u0301\u0327",
  "combining marks of many classes": "\u0301\u0323\u0328\u031B\u0345\u05B0\u094D",
  "one letter with marks, again and again": `a${"\u0323\u0301".repeat(20)}`,
  "Hangul jamo": "\u1100\u1161\u11A8",
  "a ligature that unfolds into 18 characters": "ﷺ",
  "letters that fold into several": "ßİŉǰΐᾼ",
  "zero-width characters": "\u200B\u200D\uFEFF",
  blanks: " ",
  "tabs and line ends": "\t\r\n",
  quotes: '"',
  backslashes: "\\",
  "commas and semicolons": ",;",
  parentheses: "(",
  brackets: "[",
  digits: "7",
  wildcards: "%_",
  "the word and": " and ",
  "the word or": " or ",
  "a filter's conditions": "name[eq]:a and ",
  "a filter's groups": "(name[eq]:a or ",
  "emoji with joiners": "👩‍👩‍👧‍👦",
  "right-to-left marks": "\u202E\u2066",
};
/** Each place is tried with one pattern of so many, and each pattern in as many places. */
const patternStride = 4;

function filled(pattern: string, sizeBytes: number): string {
  return pattern.repeat(Math.max(1, Math.floor(sizeBytes / Buffer.byteLength(pattern))));
}

interface Place {
  method: string;
  path: string;
  sizeBytes: number;
  request(text: string): TestRequest;
  /** Where the text stands in the query. */
  query?: (text: string) => string;
}

const json = (body: (text: string) => unknown) => (text: string) => ({ body: body(text) });
const csv = (file: (text: string) => string) => (text: string) => ({ raw: file(text), headers: { "content-type": "text/csv" } });
const quoted = (text: string) => `"${text.replaceAll('"', '""')}"`;
const patch = (sizeBytes: number, body: (text: string) => unknown): Place => ({
  method: "PATCH",
  path: "/customers/$id",
  sizeBytes,
  request: json(body),
});
const list = (sizeBytes: number, query: (text: string) => string): Place => ({
  method: "GET",
  path: "/customers",
  sizeBytes,
  request: () => ({}),
  query,
});
const upload = (request: Place["request"]): Place => ({
  method: "POST",
  path: "/customers/import?dryRun=true",
  sizeBytes: 96 * kilobyte,
  request,
});

const places: Record<string, Place> = {
  "a name": { method: "POST", path: "/customers", sizeBytes: 60 * kilobyte, request: json((name) => ({ name })) },
  notes: patch(400 * kilobyte, (notes) => ({ notes })),
  "notes within their length": patch(9_000, (notes) => ({ notes })),
  tags: patch(300 * kilobyte, (tag) => ({ tags: [tag, tag.slice(0, 64)] })),
  "a custom field": patch(60 * kilobyte, (value) => ({ customFields: { value } })),
  "a custom field's key": patch(60 * kilobyte, (key) => ({ customFields: { [key]: 1 } })),
  "an unknown field": patch(60 * kilobyte, (key) => ({ [key]: 1 })),
  "an amount": { method: "POST", path: "/opportunities", sizeBytes: 60 * kilobyte, request: json((amount) => ({ name: "a", amount })) },
  "a filter": list(3_900, (text) => `filter=${text}`),
  "a filter's value": list(3_900, (text) => `filter=name[contains]:${text}`),
  "a keyword": list(190, (text) => `keyword=${text}`),
  "an order": list(3_900, (text) => `sort=${text}`),
  "a cell of a CSV file": upload(csv((text) => `name\n${quoted(text)}\n`)),
  "a heading of a CSV file": upload(csv((text) => `name,${quoted(text)}\na,b\n`)),
  "a CSV file": upload(csv((text) => `name\n${text}\n`)),
  "an imported record": upload(json((name) => ({ items: [{ name }] }))),
};

describe("no text costs more than an ordinary one of the same length", () => {
  test.each(Object.entries(places).map(([name, place], index) => [name, place, index] as const))(
    "as %s",
    { timeout: 60_000 },
    async (_, place, index) => {
      const send = (text: string) => {
        const path = place.path.replace("$id", customerId);
        const query = place.query ? `?${encodeURI(place.query(text)).replaceAll("#", "%23")}` : "";
        return costOf(place.method, path + query, () => place.request(text));
      };
      const ordinary = await send(filled("plain words ", place.sizeBytes));
      const over: string[] = [];
      for (const [name, pattern] of Object.entries(patterns).filter((__, at) => at % patternStride === index % patternStride)) {
        const cost = await send(filled(pattern, place.sizeBytes));
        over.push(...excesses(name, cost, ordinary, place.sizeBytes, budgets.cpuRatio));
      }
      expect(over).toEqual([]);
    },
  );
});

describe("no form of an upload costs more than ordinary rows of the same length", () => {
  const size = 96 * kilobyte;
  const items = (item: string) => `{"dryRun":true,"items":[${`${item},`.repeat(size / (item.length + 1)).slice(0, -1)}]}`;
  const bodies: Record<string, () => string> = {
    "empty records": () => items("{}"),
    numbers: () => items("1"),
    "empty texts": () => items('""'),
    "empty lists": () => items("[]"),
    "records of one unknown field": () => items('{"a":1}'),
    "deep lists": () => `{"dryRun":true,"items":${"[".repeat(size / 2)}${"]".repeat(size / 2)}}`,
    "many keys": () => `{"dryRun":true,"items":[{${Array.from({ length: size / 12 }, (_, index) => `"k${index}":1`).join(",")}}]}`,
    "the same key": () => `{"dryRun":true,"items":[{${'"name":"a",'.repeat(size / 11).slice(0, -1)}}]}`,
    "one list of many numbers": () => `{"dryRun":true,"items":[{"name":"a","tags":[${"1,".repeat(size / 2).slice(0, -1)}]}]}`,
    "blanks between": () => `{"dryRun":true,"items":[${" ".repeat(size)}]}`,
    "escaped characters": () => `{"dryRun":true,"items":[{"name":"${"\\u0301".repeat(size / 6)}"}]}`,
  };
  const files: Record<string, () => string> = {
    "line ends": () => `name\n${"\n".repeat(size)}`,
    "line ends of Windows": () => `name\r\n${"\r\n".repeat(size / 2)}`,
    commas: () => `name\n${",".repeat(size)}`,
    "lines of one comma": () => `name,level\n${",\n".repeat(size / 2)}`,
    "lines of one value": () => `name,level\n${",b\n".repeat(size / 3)}`,
    "a line of nothing but headings": () => `${",".repeat(size)}\n`,
    "empty quotes": () => `name\n${'""\n'.repeat(size / 3)}`,
    "a quote that never ends": () => `name\n"${"a\n".repeat(size / 2)}`,
  };

  async function expectWithin(ordinary: string, given: Record<string, () => string>, type: string) {
    const send = (raw: string) =>
      costOf("POST", "/customers/import?dryRun=true&async=false", () => ({ raw, headers: { "content-type": type } }));
    const limit = await send(ordinary);
    const over: string[] = [];
    for (const [name, make] of Object.entries(given)) over.push(...excesses(name, await send(make()), limit, size, budgets.importCpuRatio));
    expect(over).toEqual([]);
  }

  test("a JSON upload costs no more than ordinary rows of the same length", { timeout: 60_000 }, () =>
    expectWithin(items('{"name":"Some Company Ltd","level":"A"}'), bodies, "application/json"),
  );

  test("a CSV upload costs no more than ordinary rows of the same length", { timeout: 60_000 }, async () => {
    const row = "Some Company Ltd,A\n";
    await expectWithin(`name,level\n${row.repeat(size / row.length)}`, files, "text/csv");
  });
});
