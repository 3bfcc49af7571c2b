import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { slowRouteOf } from "./slow-routes.ts";

test.each([
  ["/customers/import", "streams"],
  ["/opportunities/import/", "streams"],
  ["/opportunities/export", "streams"],
  ["/audit-logs/verify", "streams"],
  ["/imports/0197c3a2-7c1e-7b1a-9d53-0d6b6a1f2c10/errors.csv", "streams"],
  ["/pipeline/funnel", "requests"],
  ["/opportunities/forecast", "requests"],
])("%s may take long, among the tenant's %s", (path, bulkhead) => {
  expect(slowRouteOf(path)?.bulkhead).toBe(bulkhead);
});

test.each(["/customers", "/customers/import/x", "/audit-logs", "/imports/1/errorsxcsv", "/metrics/x", "/", "/import"])(
  "%s has no more time than all others",
  (path) => {
    expect(slowRouteOf(path)).toBeUndefined();
  },
);

test("a larger body than others is taken by imports alone", () => {
  const { paths } = JSON.parse(readFileSync(new URL("../../openapi/crm.json", import.meta.url), "utf8")) as { paths: object };
  const large = Object.keys(paths).filter((path) => slowRouteOf(path)?.bodyLimit !== undefined);
  expect(large).toEqual(["/customers/import", "/opportunities/import"]);
});
