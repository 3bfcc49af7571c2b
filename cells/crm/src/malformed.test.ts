import type { TestCell } from "@cell/cell/testing/test-cell";
import { describeMalformed } from "@cell/http/testing/malformed";
import { untilClosed } from "@cell/http/testing/raw";
import { afterAll, expect, test } from "vitest";
import { startCrm } from "./testing/test-crm.ts";

let cell: TestCell;
afterAll(() => cell.stop());

const linesOf = (headers: Record<string, string>) =>
  Object.entries(headers)
    .map(([name, value]) => `${name}: ${value}\r\n`)
    .join("");

// As if someone had come round the gateway with a good assertion.
describeMalformed(async () => {
  cell = await startCrm();
  const client = cell.client(await cell.tenant());
  return {
    url: cell.url,
    path: "/customers",
    identity: () => linesOf(client.headers()),
    hiddenRuns: async () => (await client.get("/customers?keyword=hidden")).body.total as number,
  };
});

const megabyte = 1024 * 1024;

test.each([
  ["declared", `Content-Length: ${megabyte + 1}\r\n\r\n`],
  ["in pieces", `Transfer-Encoding: chunked\r\n\r\n${(2 * megabyte).toString(16)}\r\n${" ".repeat(megabyte + 1)}`],
])("a body past the limit, %s, is 413 before its end, and its sender is cut off", async (_how, rest) => {
  const client = cell.client(await cell.tenant());
  const head = `POST /customers HTTP/1.1\r\nHost: a\r\n${linesOf(client.headers())}Content-Type: application/json\r\n`;
  const response = await untilClosed(cell.url, head + rest);
  expect(response).toMatch(/^HTTP\/1\.1 413 /);
  expect(response).toContain('"code":"PAYLOAD_TOO_LARGE"');
});

test("an incomplete body has no effect", async () => {
  const client = cell.client(await cell.tenant());
  const whole = '{"name":"whole"}';
  const head = `POST /customers HTTP/1.1\r\nHost: a\r\n${linesOf(client.headers())}Content-Type: application/json\r\n`;
  for (const framing of [
    `Content-Length: ${whole.length + 1}\r\n\r\n`,
    `Transfer-Encoding: chunked\r\n\r\n${whole.length.toString(16)}\r\n`,
  ])
    expect(await untilClosed(cell.url, `${head}${framing}${whole}`, { leave: true })).not.toContain("HTTP/1.1 2");
  expect((await client.get("/customers")).body.total).toBe(0);
});

test("a query that is doubled, unknown or half encoded is refused by its name, and a body on a read is nothing to it", async () => {
  const client = cell.client(await cell.tenant());
  for (const [query, path] of [
    ["page=1&page=2", "page"],
    ["a[]=1", "a[]"],
    ["__proto__=1", "__proto__"],
    ["constructor=1", "constructor"],
    ["keyword=%zz", undefined],
    ["keyword=%ff", undefined],
    ["keyword=%", undefined],
  ] as const) {
    const response = await client.get(`/customers?${query}`);
    expect([response.status, response.body.code, response.body.details?.fields[0].path], query).toEqual([400, "BAD_REQUEST", path]);
  }
  const head = `GET /customers HTTP/1.1\r\nHost: a\r\n${linesOf(client.headers())}Connection: close\r\n`;
  expect(await untilClosed(cell.url, `${head}Content-Length: 2\r\n\r\n{}`)).toMatch(/^HTTP\/1\.1 200 /);
});
