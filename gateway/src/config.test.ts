import { expect, test } from "vitest";
import { parseCells, readConfig } from "./config.ts";

const good = { DATABASE_URL: "postgres://x", ASSERTION_KEYS: `a:${"A".repeat(43)}`, CELLS: "crm=http://127.0.0.1:8001" };

test("the least configuration gets the documented defaults", () => {
  expect(readConfig(good)).toMatchObject({ host: "127.0.0.1", port: 8080, operatorKey: undefined, logLevel: "info" });
  expect(readConfig(good).timeouts).toMatchObject({ connectMs: 250, headersMs: 10_000, slowHeadersMs: 120_000, bodyIdleMs: 60_000 });
});

test.each([
  ["DATABASE_URL", ""],
  ["ASSERTION_KEYS", ""],
  ["ASSERTION_KEYS", "a:short"],
  ["CELLS", ""],
  ["CELLS", "crm"],
  ["CELLS", "crm=ftp://x"],
  ["CELLS", "crm=http://x/path"],
  ["CELLS", "CRM=http://x"],
  ["PORT", "70000"],
  ["PORT", "http"],
  ["OPERATOR_KEY", "short"],
  ["KEY_ENVIRONMENT", "Live!"],
  ["LOG_LEVEL", "loud"],
  ["HEADERS_TIMEOUT_MS", "-1"],
])("%s=%j refuses to start, naming the variable", (name, value) => {
  expect(() => readConfig({ ...good, [name]: value })).toThrow(name);
});

test("a cell named twice has two partitions", () => {
  expect(parseCells("crm=http://a:1, messaging=http://b:2,crm=http://c:3/")).toEqual([
    { name: "crm", urls: ["http://a:1", "http://c:3"] },
    { name: "messaging", urls: ["http://b:2"] },
  ]);
});
