import { request } from "node:http";
import { text } from "node:stream/consumers";
import { setTimeout as sleep } from "node:timers/promises";
import { gzipSync } from "node:zlib";
import type { TestCell, TestClient } from "@cell/cell/testing/test-cell";
import { readFuzzSettings } from "@cell/http/testing/config";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { tenantPerFile } from "../testing/tenants.ts";
import { stagedRows } from "../testing/test-crm.ts";

const { runs, seed } = readFuzzSettings();
const megabyte = 1024 * 1024;

let cell: TestCell;
let tenantId: string;
let admin: TestClient;

tenantPerFile((given) => {
  ({ cell, tenantId, admin } = given);
});

interface Given {
  status: number;
  code: string | undefined;
  message: string;
}

/** Sends a file piece by piece, no faster than it is read; the answer may come before its end. */
async function upload(headers: Record<string, string>, pieces: Iterable<Uint8Array>, path = "/customers/import"): Promise<Given> {
  const sent = request(cell.url + path, { method: "POST", headers: { ...admin.headers(), ...headers } });
  const answered = new Promise<Given>((resolve, reject) => {
    sent.on("error", reject);
    sent.on("response", (response) => {
      text(response).then((body) => {
        const { code, message = "" } = JSON.parse(body) as Given;
        resolve({ status: response.statusCode ?? 0, code, message });
      }, reject);
    });
  });
  let isOver = false;
  const over = answered.then(
    () => {
      isOver = true;
    },
    () => {
      isOver = true;
    },
  );
  for (const piece of pieces) {
    if (isOver) break;
    if (!sent.write(piece)) await Promise.race([new Promise((resolve) => sent.once("drain", resolve)), over]);
  }
  if (!isOver) sent.end();
  const received = await answered;
  sent.destroy();
  return received;
}

function* repeated(head: string, piece: string, bytes: number, tail = ""): Generator<Buffer> {
  yield Buffer.from(head);
  const block = Buffer.from(piece.repeat(Math.ceil((64 * 1024) / piece.length)));
  for (let sent = 0; sent < bytes; sent += block.length) yield block;
  yield Buffer.from(tail);
}

/** What a process that reads a file as it comes never needs, even where its garbage waits. */
const mostMemory = 400 * megabyte;

/** Runs the work; resolves to how many bytes the process had at most beyond what it had at the beginning. */
async function peak(work: () => Promise<void>): Promise<number> {
  const before = process.memoryUsage.rss();
  let most = before;
  const look = setInterval(() => {
    most = Math.max(most, process.memoryUsage.rss());
  }, 20);
  try {
    await work();
  } finally {
    clearInterval(look);
  }
  return most - before;
}

/** Rows that failed are kept, to be shown as a file; those of a file that was refused are not. */
const storedRows = () => stagedRows(tenantId);

describe("a file that no spreadsheet wrote is refused with what is wrong, or its rows are; in bounded memory, and nothing stays", () => {
  const csv = { "content-type": "text/csv" };
  const form = (boundary: string) => ({ "content-type": `multipart/form-data; boundary=${boundary}` });
  const part = (boundary: string, disposition: string, content = "name\r\nPart") => [
    Buffer.from(`--${boundary}\r\nContent-Disposition: form-data; ${disposition}\r\n\r\n${content}\r\n--${boundary}--\r\n`),
  ];
  function* manyParts(): Generator<Buffer> {
    for (let index = 0; index < 5_000; index++) yield Buffer.from(`--b\r\nContent-Disposition: form-data; name="p${index}"\r\n\r\nx\r\n`);
    yield Buffer.from("--b--\r\n");
  }
  const cases: Record<string, [headers: Record<string, string>, pieces: () => Iterable<Uint8Array>, status: number]> = {
    "a million columns": [csv, () => repeated("", "name,", 5 * 1_000_000, "\r\n"), 400],
    "a million columns under a good header": [csv, () => repeated("name\r\n", "x,", 1_000_000, "\r\n"), 200],
    "one line of 60 MB": [csv, () => repeated("name\r\n", "x", 60 * megabyte), 400],
    "one quoted cell of 60 MB": [csv, () => repeated('name\r\n"', "x\r\n", 60 * megabyte), 400],
    "60 MB of quotes": [csv, () => repeated("name\r\n", '"', 60 * megabyte), 400],
    "a header of 60 MB": [csv, () => repeated("name", "x", 60 * megabyte), 400],
    "60 MB of empty lines": [csv, () => repeated("name\r\n", "\r\n", 60 * megabyte), 413],
    "more than 64 MB": [csv, () => repeated("name\r\n", `${" ".repeat(60_000)}\r\n`, 80 * megabyte), 413],
    "NUL bytes": [csv, () => [Buffer.from("name\r\na\0b\r\n")], 200],
    "nothing but NUL": [csv, () => [Buffer.alloc(megabyte)], 400],
    "UTF-16": [csv, () => [Buffer.from("\uFEFFname\r\nx\r\n", "utf16le")], 400],
    "half a character at the end": [csv, () => [Buffer.from([0x6e, 0x61, 0x6d, 0x65, 0x0a, 0xe5, 0x8d])], 400],
    "GBK with a broken byte": [
      { "content-type": "text/csv; charset=gbk" },
      () => [Buffer.from([0x6e, 0x61, 0x6d, 0x65, 0x0a, 0xb9, 0xff, 0x0a])],
      400,
    ],
    "an encoding that nobody knows": [{ "content-type": "text/csv; charset=utf-7" }, () => [Buffer.from("name\n+AHg-")], 415],
    "a bomb": [{ ...csv, "content-encoding": "gzip" }, () => [gzipSync(Buffer.alloc(50 * megabyte, "x"))], 415],
    "a bomb that does not say so": [csv, () => [gzipSync(Buffer.alloc(50 * megabyte, "x"))], 400],
    "a form without a boundary": [{ "content-type": "multipart/form-data" }, () => part("b", 'name="file"'), 400],
    "a form with another boundary": [form("other"), () => part("b", 'name="file"'), 400],
    "a form whose boundary is of patterns": [form('"(.*)+["'), () => part("b", 'name="file"'), 400],
    "a form whose boundary is too long": [form("b".repeat(500)), () => part("b".repeat(500), 'name="file"'), 400],
    "a form that never ends": [form("b"), () => [Buffer.from('--b\r\nContent-Disposition: form-data; name="file"\r\n\r\nname\r\nx')], 400],
    "a form with a head that never ends": [form("b"), () => repeated("--b\r\n", "X-A: b\r\n", 5 * megabyte), 400],
    "a form of thousands of parts": [form("b"), manyParts, 400],
    "a form whose part has another name": [form("b"), () => part("b", 'name="other"'), 400],
    "JSON of 16 MB of levels": [{ "content-type": "application/json" }, () => repeated('{"items":', "[", 15 * megabyte), 400],
    "JSON of 20 MB": [{ "content-type": "application/json" }, () => repeated('{"items":[', " ", 20 * megabyte), 413],
    "JSON of more keys than there may be": [
      { "content-type": "application/json" },
      () => repeated('{"items":[{', '"a":1,', 15 * megabyte, '"b":1}]}'),
      400,
    ],
    "JSON of more items than there may be": [
      { "content-type": "application/json" },
      () => repeated('{"items":[{}', ',{"a":1}', 15 * megabyte, "]}"),
      413,
    ],
  };

  test.each(Object.entries(cases))("%s", { timeout: 60_000 }, async (_what, [headers, pieces, status]) => {
    const before = await storedRows();
    let response: Given | undefined;
    const used = await peak(async () => {
      response = await upload(headers, pieces(), "/customers/import?dryRun=true");
    });
    expect(response?.status, JSON.stringify(response)).toBe(status);
    expect(used).toBeLessThan(mostMemory);
    if (status < 400) return;
    expect(response?.code).toMatch(/^[A-Z_]+$/);
    expect(await storedRows()).toBe(before);
  });

  test.each([
    'name="file"; filename="../../etc/passwd"',
    "name=file; filename*=UTF-8''%00%2e%2e%2fx",
    `name="file"; filename="${"a".repeat(5_000)}"`,
    'name="file"; filename="a\\"; name=\\"other"',
  ])("the name of a file is nothing to us: %s", async (disposition) => {
    expect((await upload(form("b"), part("b", disposition), "/customers/import?dryRun=true")).status).toBe(200);
  });
});

test(`any text as CSV is a report that adds up, or a refusal that leaves nothing (FUZZ_SEED=${seed} FUZZ_RUNS=${runs})`, {
  timeout: 30_000 + runs * 500,
}, async () => {
  const heading = fc.constantFrom(
    "name",
    "客户名称",
    "contactPhone",
    "customFields",
    "tags",
    "customerId",
    "version",
    "nonsense",
    "",
    "'name",
    "__proto__",
  );
  const cellText = fc.oneof(
    fc.constantFrom(
      "",
      "a",
      "某某公司",
      '"',
      '""',
      '"a',
      'a"b',
      '"a\r\nb"',
      "'=1+1",
      "\uFEFF",
      "\0",
      "138****8000",
      '{"a":{"a":1,"a":2}}',
      '"{""a"":1e999}"',
      "x".repeat(300),
      "a;b|c",
      "\\",
      "=1",
    ),
    fc.string({ unit: "binary", maxLength: 12 }),
  );
  const row = fc.array(cellText, { maxLength: 6 }).map((cells) => cells.join(","));
  const lineEnd = fc.constantFrom("\r\n", "\n", "\r", "\n\r", "\u2028");
  const file = fc.tuple(fc.array(heading, { minLength: 1, maxLength: 6 }), fc.array(fc.tuple(lineEnd, row), { maxLength: 8 }));
  const query = fc.constantFrom("", "?mode=upsert", "?dryRun=true", "?atomic=true", "?onDuplicate=skip&mode=upsert", "?async=true");
  const property = fc.asyncProperty(file, query, fc.boolean(), async ([headings, rows], options, isForm) => {
    const content = `${headings.join(",")}${rows.map((parts) => parts.join("")).join("")}`;
    const raw = isForm ? `--b\r\nContent-Disposition: form-data; name="file"\r\n\r\n${content}\r\n--b--` : content;
    const type = isForm ? "multipart/form-data; boundary=b" : "text/csv";
    const response = await admin.post(`/customers/import${options}`, { raw, headers: { "content-type": type } });
    if (response.status >= 400) {
      expect([400, 413], `${JSON.stringify(content)} → ${response.text}`).toContain(response.status);
      return;
    }
    let report = response.body;
    for (let waits = 0; response.status === 202 && !report.finishedAt && waits < 400; waits++) {
      await sleep(10);
      report = (await admin.get(`/imports/${response.body.importId}`)).body;
    }
    expect(report.created + report.updated + report.skipped + report.failed, `${JSON.stringify(content)} → ${response.text}`).toBe(
      report.total,
    );
  });
  await fc.assert(property, { numRuns: runs * 4, seed, endOnFailure: true });
});
