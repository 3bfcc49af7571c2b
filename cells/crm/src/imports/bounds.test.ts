import { request } from "node:http";
import { text } from "node:stream/consumers";
import { setTimeout as sleep } from "node:timers/promises";
import type { TestCell, TestClient, TestResponse } from "@cell/cell/testing/test-cell";
import { describe, expect, test } from "vitest";
import { importCounts } from "../testing/requests.ts";
import { tenantPerTest } from "../testing/tenants.ts";
import { inspect } from "../testing/test-crm.ts";
import { failedBytesAtMost, failedBytesOfAny, failedBytesPerByte, failedRowBytesAtMost } from "./failed-rows.ts";

const kilobyte = 1024;
const megabyte = 1024 * kilobyte;
const pieceBytes = 64 * kilobyte;

let cell: TestCell;
let tenantId: string;
let admin: TestClient;

tenantPerTest((given) => {
  ({ cell, tenantId, admin } = given);
});

const json = { "content-type": "application/json" };
const csv = { "content-type": "text/csv" };

interface Upload {
  response: Promise<{ status: number; headers: NodeJS.Dict<string | string[]>; body: Record<string, unknown> }>;
  write(piece: string | Buffer): Promise<void>;
  end(): void;
}

/** A request whose body is sent piece by piece, no faster than it is taken. */
function upload(client: TestClient, headers: Record<string, string>, path: string): Upload {
  const sent = request(cell.url + path, { method: "POST", headers: { ...client.headers(), ...headers } });
  const made: Upload = {
    response: new Promise((resolve, reject) => {
      sent.on("error", reject);
      sent.on("response", (response) => {
        text(response).then((body) => {
          resolve({ status: response.statusCode ?? 0, headers: response.headers, body: JSON.parse(body) });
          sent.destroy();
        }, reject);
      });
    }),
    async write(piece) {
      if (sent.destroyed) return;
      if (!sent.write(piece)) await Promise.race([new Promise((resolve) => sent.once("drain", resolve)), made.response]);
    },
    end: () => sent.end(),
  };
  return made;
}

async function uploadAll(headers: Record<string, string>, path: string, body: Buffer) {
  const one = upload(admin, headers, path);
  for (let at = 0; at < body.length; at += pieceBytes) await one.write(body.subarray(at, at + pieceBytes));
  one.end();
  return one.response;
}

async function finished(importId: unknown): Promise<TestResponse> {
  for (;;) {
    const report = await admin.get(`/imports/${importId}`);
    if (report.body.finishedAt) return report;
    await sleep(50);
  }
}

/** CPU of this thread, in all and between two turns of its event loop at most, while the work runs. */
async function cpuOf(work: () => Promise<unknown>): Promise<{ total: number; longest: number }> {
  const used = () => {
    const { user, system } = process.threadCpuUsage();
    return user + system;
  };
  const start = used();
  let [last, longest, isRunning] = [start, 0, true];
  const turn = () => {
    const now = used();
    longest = Math.max(longest, now - last);
    last = now;
    if (isRunning) setImmediate(turn);
  };
  setImmediate(turn);
  await work();
  isRunning = false;
  return { total: used() - start, longest };
}

describe("an import in JSON takes little time at once", { timeout: 120_000 }, () => {
  const realistic = (index: number) =>
    JSON.stringify({
      name: `Example ${index}`,
      contactPhone: "13800138000",
      contactEmail: `c${index}@example.com`,
      industry: "manufacturing",
      tags: ["a", "b"],
      notes: `some notes that say a little of the customer ${index}`,
    });
  const bodies: Record<string, [item: (index: number) => string, items: number]> = {
    "of real rows": [realistic, 40_000],
    "of numbers": [String, 600_000],
    "of empty objects": [() => "{}", 600_000],
    "of rows with a fault in every field": [
      (index) => `{"name":1,"contactPhone":"?","contactEmail":"x","status":"${index}","tags":1}`,
      40_000,
    ],
  };

  test.each(Object.entries(bodies))(
    "%s: others are served between small parts of it, before its answer too",
    async (_what, [item, items]) => {
      const body = Buffer.from(`{"items":[${Array.from({ length: items }, (_, index) => item(index)).join(",")}],"dryRun":true}`);
      let importId: unknown;
      const { total, longest } = await cpuOf(async () => {
        const { status, body: accepted } = await uploadAll(json, "/customers/import", body);
        expect(status).toBe(202);
        importId = accepted.importId;
      });
      expect(longest * 20).toBeLessThan(total);
      expect((await finished(importId)).body.total).toBe(items);
    },
  );

  test("with more items than there may be is refused when the first too many has come", async () => {
    const one = upload(admin, json, "/customers/import");
    const piece = "{},".repeat(pieceBytes / 3);
    await one.write('{"items":[');
    // A million items and some more, of a body that is never completed.
    for (let sent = 0; sent < 4 * megabyte; sent += piece.length) await one.write(piece);
    expect((await one.response).status).toBe(413);
  });
});

describe("imports in JSON are read one at a time of each tenant", () => {
  test("JSON imports of one tenant are read in sequence, others and files pass; a waiting one gets its turn, and further ones get 429", async () => {
    const other = cell.client(await cell.tenant());
    const first = upload(admin, json, "/customers/import");
    await first.write('{"items":[{"name":"First"}');
    await sleep(200);
    expect((await other.post("/customers/import", { body: { items: [{ name: "Other" }] } })).status).toBe(200);
    expect((await admin.post("/customers/import", { raw: "name\nFile\n", headers: csv })).status).toBe(200);
    // The first ones of those that come now wait; who comes when there are enough of them is refused.
    const others = Array.from({ length: 12 }, (_, index) => admin.post("/customers/import", { body: { items: [{ name: `W${index}` }] } }));
    const refused = await Promise.race(others);
    expect([refused.status, refused.body.code, refused.headers.get("retry-after")]).toEqual([429, "RATE_LIMITED", "10"]);
    await first.write("]}");
    first.end();
    expect((await first.response).status).toBe(200);
    const responses = await Promise.all(others);
    expect(responses.filter(({ status }) => status === 200).length).toBeGreaterThan(0);
    expect(responses.filter(({ status }) => status === 429).length).toBeGreaterThanOrEqual(4);
    for (const response of responses.filter(({ status }) => status === 200)) expect(importCounts(response)).toEqual([1, 1, 0, 0, 0]);
  });

  test("a JSON import that fails, or whose caller leaves, ends its turn", async () => {
    const left = request(`${cell.url}/customers/import`, { method: "POST", headers: { ...admin.headers(), ...json } });
    left.on("error", () => undefined);
    left.write('{"items":[');
    await sleep(200);
    left.destroy();
    for (const raw of ['{"items":[}', '{"items":7}', '{"items":[1,2],"mode":"x"}', '{"items":[{"a":1,"a":1}]}'])
      expect((await admin.post("/customers/import", { raw, headers: json })).status).toBe(400);
    expect((await admin.post("/customers/import", { body: { items: [{ name: "A" }] } })).status).toBe(200);
  });
});

const storedBytes = async (): Promise<number> => {
  const [row] = await inspect<{ bytes: number }>(
    tenantId,
    "select coalesce(sum(octet_length(cells::text) + octet_length(errors::text)), 0)::int as bytes from $tenant.import_failures",
  );
  return row?.bytes ?? 0;
};
const stagedBytes = async (): Promise<number> => {
  const [row] = await inspect<{ bytes: number }>(
    tenantId,
    "select coalesce(sum(octet_length(rows) + octet_length(cells)), 0)::int as bytes from $tenant.import_batches",
  );
  return row?.bytes ?? 0;
};

describe("what is kept of failed rows is bounded, and the report says when some are left out", { timeout: 120_000 }, () => {
  const wide = Object.fromEntries(Array.from({ length: 190 }, (_, index) => [`u${index}`, 1]));

  test.each([true, false])("in JSON with many unknown fields, dryRun=%s", async (dryRun) => {
    const body = Buffer.from(JSON.stringify({ dryRun, items: Array.from({ length: 4_000 }, () => wide) }));
    const { status, body: report } = await uploadAll(json, "/customers/import", body);
    expect(status).toBe(200);
    expect(report).toMatchObject({ total: 4_000, failed: 4_000, errorsTruncated: true, errorFileTruncated: true });
    expect(JSON.stringify(report).length).toBeLessThan(100 * kilobyte);
    expect(await storedBytes()).toBeLessThan(failedBytesAtMost + failedRowBytesAtMost);
    const file = await admin.get(String(report.errorFileUrl).replace("/api/v1/crm", ""));
    expect(file.text.length).toBeLessThan(failedBytesAtMost);
    expect(file.text.split("\r\n").length).toBeGreaterThan(1_000);
  });

  test("failed rows of a file with many headings and short lines are stored within the limit", async () => {
    const headings = ["name", ...Array.from({ length: 190 }, (_, index) => `unknown ${index}`)];
    const body = Buffer.from(`${headings.join(",")}\n${"a\n".repeat(5_000)}`);
    const { body: report } = await uploadAll(csv, "/customers/import?dryRun=true", body);
    expect(report).toMatchObject({ total: 5_000, failed: 5_000, errorFileTruncated: true });
    expect(await storedBytes()).toBeLessThan(failedBytesAtMost + failedRowBytesAtMost);
    const { errors } = report as { errors: { row: number }[] };
    expect(errors.filter(({ row }) => row === 1)).toHaveLength(50);
  });

  test.each(["", "&async=true"])("of rows that fail by what is stored%s", async (query) => {
    const fileOf = (notes: string) =>
      Buffer.from(`name,notes\n${Array.from({ length: 1_800 }, (_, index) => `Row ${index},${notes}\n`).join("")}`);
    expect((await uploadAll(csv, "/customers/import", fileOf(""))).body).toMatchObject({ created: 1_800 });
    const body = fileOf("n".repeat(9_900));
    const { body: begun } = await uploadAll(csv, `/customers/import?dryRun=true${query}`, body);
    const report = await finished(begun.importId);
    expect(report.body).toMatchObject({ failed: 1_800, errorFileTruncated: true });
    expect(report.body.errors).toHaveLength(100);
    expect(await storedBytes()).toBeLessThan(failedBytesAtMost + failedRowBytesAtMost);
    expect(await storedBytes()).toBeGreaterThan(failedBytesAtMost / 2);
  });

  const tiny: [string, (index: number) => string][] = [
    ["of empty records", () => "{}"],
    ["of numbers", () => "1"],
    ["of empty lists", () => "[]"],
    ["of one unknown field", () => '{"a":1}'],
    ["of a name that is there", (index) => `{"name":"N${index}"}`],
  ];

  test.each(tiny)("by what was sent: rows %s have errors longer than themselves", async (_what, item) => {
    const rows = 20_000;
    const items = Array.from({ length: rows }, (_row, index) => item(index)).join(",");
    const send = async (dryRun: boolean) => {
      const { body: begun } = await uploadAll(
        json,
        "/customers/import",
        Buffer.from(`{"dryRun":${dryRun},"async":true,"items":[${items}]}`),
      );
      return (await finished(begun.importId)).body;
    };
    if (item(0).includes("name")) expect((await send(false)).created).toBe(rows);
    const report = await send(true);
    expect(report).toMatchObject({ total: rows, failed: rows, errorsTruncated: true, errorFileTruncated: true });
    expect(report.errors).toHaveLength(100);
    expect(await storedBytes()).toBeLessThan(failedBytesOfAny + failedBytesPerByte * items.length + kilobyte);
    const file = await admin.get(String(report.errorFileUrl).replace("/api/v1/crm", ""));
    expect(file.text.split("\r\n").length).toBeGreaterThan(2_000);
  });

  test("by the row: one that is too large is not in the file, neither whole nor in part", async () => {
    const large = "x".repeat(failedRowBytesAtMost);
    const response = await admin.post("/customers/import", { raw: `name,notes\n,${large}\n,small\n`, headers: csv });
    expect(response.body).toMatchObject({ failed: 2, errorFileTruncated: true });
    expect(response.body.errors.map(({ row }: { row: number }) => row)).toEqual([1, 1, 2]);
    const { text: file } = await admin.get(response.body.errorFileUrl.replace("/api/v1/crm", ""));
    expect(file.trim().split("\r\n")).toEqual(["name,notes,errors", expect.stringContaining(",small,")]);
    const json = await admin.post("/customers/import", { body: { items: [{ notes: large }, { notes: "small" }] } });
    expect(json.body).toMatchObject({ failed: 2, errorFileTruncated: true });
    expect((await admin.post("/customers/import", { raw: "name\n\n,\nA\nA\n", headers: csv })).body.errorFileTruncated).toBe(false);
  });

  test("by its texts: a heading or a field's name without end is told in short, or refused", async () => {
    const long = "h".repeat(100_000);
    expect((await admin.post("/customers/import", { raw: `name,${long}\nA,1\n`, headers: csv })).status).toBe(400);
    expect((await admin.post("/customers/import", { body: { items: [{ name: "A", [long]: 1 }] } })).status).toBe(400);
    const nul = await admin.post("/customers/import", { raw: "name,a\0b\nA,1\n", headers: csv });
    expect(nul.body.errors).toMatchObject([{ field: "a\uFFFDb", code: "UNKNOWN_COLUMN" }]);
  });

  test("no more is put aside of JSON than it has, whatever fields other rows name", async () => {
    const items = [
      Object.fromEntries(Object.entries(wide).map(([key]) => [key, ""])),
      ...Array.from({ length: 3_000 }, (_, index) => ({ name: `N${index}` })),
    ];
    const body = Buffer.from(JSON.stringify({ dryRun: true, items }));
    expect((await uploadAll(json, "/customers/import", body)).body).toMatchObject({ created: 3_000, failed: 1 });
    expect(await stagedBytes()).toBeLessThan(6 * body.length);
  });
});

describe("lines of nothing cost next to nothing", { timeout: 120_000 }, () => {
  const ordinary = Buffer.from(
    `name,contactPhone,notes\n${Array.from({ length: 8_000 }, (_, index) => `Example ${index} Ltd,13800138000,${"some notes ".repeat(9)}\n`).join("")}`,
  );
  const nothing: Record<string, string> = {
    "empty lines": "\n",
    "empty lines of Windows": "\r\n",
    "lines of blanks": " \n",
    "lines of commas": ",\n",
    "lines of empty quotes": '""\n',
    "one line of commas": ",",
    "old line ends": "\r",
  };

  test("one takes less than a fifth of what a row takes, in small parts of all, and is no row", async () => {
    const cost = (body: Buffer, total: number) =>
      cpuOf(async () => {
        const response = await uploadAll(csv, "/customers/import?dryRun=true&async=true", body);
        expect((await finished(response.body.importId)).body.total).toBe(total);
      });
    await cost(ordinary, 8_000);
    const { total: limit } = await cost(ordinary, 8_000);
    for (const [what, line] of Object.entries(nothing)) {
      const lines = Math.floor((ordinary.length - 200 * kilobyte) / line.length);
      const body = Buffer.from(`name,contactPhone,notes\n${line.repeat(lines)}\nA,,\n`);
      const { total, longest } = await cost(body, 1);
      expect((5 * total) / lines, what).toBeLessThan(limit / 8_000);
      // All of it at once would take many times as long as the rows do; a part may hold a collection of garbage.
      expect(longest, what).toBeLessThan(limit);
    }
  });

  test("a row after empty lines of any kind has its right line number", async () => {
    const cases: [string, number][] = [
      ["name\n\n\n,\n", 5],
      ['name\r\n\r\n \r\n"a\r\nb"\r\n\r\n', 7],
      ['name\n"a\n\nb"\n"c\rd"\n\n', 8],
      ["name\r\r\r", 4],
      ['name\r\n"x\r\ny"\r\n"x\r\nz"\r\n', 6],
    ];
    for (const [before, line] of cases) {
      const response = await admin.post("/customers/import?dryRun=true", { raw: `${before}z,?\n`, headers: csv });
      expect(response.body.errors.at(-1), JSON.stringify(before)).toMatchObject({ line, field: null });
    }
  });
});
