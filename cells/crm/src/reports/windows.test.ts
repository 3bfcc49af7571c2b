import type { TestCell } from "@cell/cell/testing/test-cell";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startCrm } from "../testing/test-crm.ts";
import { get, makeTenant, march, paths, plantMoves } from "./testing/history-fixtures.ts";

let cell: TestCell;

beforeAll(async () => {
  cell = await startCrm();
});
afterAll(() => cell.stop());

describe("windows", () => {
  test("dates are the tenant's: a date-only `to` includes that day, and the resolved window is echoed", async () => {
    const tenant = await makeTenant(cell, { timezone: "Asia/Shanghai" });
    const times = ["2026-01-31T15:59:59.999Z", "2026-01-31T16:00:00.000Z", "2026-02-28T15:59:59.999Z", "2026-02-28T16:00:00.000Z"];
    await plantMoves(
      tenant,
      times.map((at) => ({ at })),
    );
    const late = "asOf=2026-05-01T00:00:00Z";
    const february = { from: "2026-01-31T16:00:00.000Z", to: "2026-02-28T16:00:00.000Z" };
    for (const window of [
      "from=2026-02-01&to=2026-02-28",
      "from=2026-02&to=2026-02",
      "from=2026-02-01T00:00:00%2B08:00&to=2026-02-28T16:00:00Z",
    ]) {
      const body = await get(tenant.admin, `/pipeline/funnel?${late}&${window}`);
      expect(body).toMatchObject({ cohort: 2, timezone: "Asia/Shanghai", window: february });
    }
    const months = await get(tenant.admin, `/reports/funnel?${late}&from=2026-01&to=2026-03&groupBy=month`);
    expect(months.groups.map(({ group, totals }: typeof months) => [group, totals.created])).toEqual([
      ["2026-01", 1],
      ["2026-02", 2],
      ["2026-03", 1],
    ]);
  });

  test("a day is 23 hours long where the clock goes forward", async () => {
    const tenant = await makeTenant(cell, { timezone: "America/New_York" });
    const times = ["2026-03-08T04:59:59.999Z", "2026-03-08T05:00:00.000Z", "2026-03-09T03:59:59.999Z", "2026-03-09T04:00:00.000Z"];
    await plantMoves(
      tenant,
      times.map((at) => ({ at })),
    );
    const body = await get(tenant.admin, "/pipeline/funnel?asOf=2026-04-01T00:00:00Z&from=2026-03-08&to=2026-03-08");
    expect(body).toMatchObject({ cohort: 2, window: { from: "2026-03-08T05:00:00.000Z", to: "2026-03-09T04:00:00.000Z" } });
  });

  test("overdue goes by the tenant's date", async () => {
    const tenant = await makeTenant(cell, { timezone: "Asia/Shanghai" });
    await plantMoves(tenant, [{ expectedCloseDate: "2026-02-28" }, { expectedCloseDate: "2026-03-01" }]);
    const overdueAt = async (asOf: string) => (await get(tenant.admin, `/pipeline/summary?asOf=${asOf}`)).attention.overdue;
    expect(await overdueAt("2026-02-28T15:59:59Z")).toBe(0);
    expect(await overdueAt("2026-02-28T16:00:00Z")).toBe(1);
    expect(await overdueAt("2026-03-01")).toBe(1);
  });

  test("without a window: twelve months for the funnel and the report, no period in the summary, a year ahead in the forecast", async () => {
    const { admin } = await makeTenant(cell);
    const year = { from: "2025-03-01T00:00:00.000Z", to: "2026-03-02T00:00:00.000Z" };
    for (const path of ["/pipeline/funnel", "/reports/funnel", "/metrics"])
      expect((await get(admin, `${path}?${march}`)).window).toEqual(year);
    expect(await get(admin, `/pipeline/summary?${march}`)).toMatchObject({ window: null, period: null });
    const forecast = await get(admin, `/opportunities/forecast?${march}`);
    expect([forecast.window, forecast.buckets.length]).toEqual([{ from: "2026-03-01T00:00:00.000Z", to: "2027-03-01T00:00:00.000Z" }, 12]);
    const quarters = await get(admin, `/opportunities/forecast?${march}&period=quarter`);
    expect(quarters.buckets.map(({ period }: { period: string }) => period)).toEqual(["2026-Q1", "2026-Q2", "2026-Q3", "2026-Q4"]);
  });

  test.each([
    ["/pipeline/summary?asOf=yesterday", "asOf"],
    ["/pipeline/summary?asOf=2026-02-30", "asOf"],
    ["/pipeline/funnel?from=2026-13", "from"],
    ["/pipeline/funnel?from=2026-03-01T00:00:00", "from"],
    ["/pipeline/funnel?from=0001-01-01", "from"],
    ["/pipeline/funnel?from=2026-03-02&to=2026-03-01", "to"],
    ["/pipeline/funnel?mode=guessed", "mode"],
    ["/pipeline/funnel?pipelineId=default", "pipelineId"],
    ["/pipeline/funnel?currency=XYZ", "currency"],
    ["/pipeline/funnel?ownerId=", "ownerId"],
    ["/reports/funnel?groupBy=stage", "groupBy"],
    ["/reports/funnel?format=xlsx", "format"],
    ["/reports/funnel?from=1900&groupBy=month", "from"],
    ["/reports/funnel?from=1950-01&groupBy=month", "to"],
    ["/opportunities/forecast?period=week", "period"],
    ["/opportunities/forecast?from=2026-01&to=2046-01", "to"],
    ["/metrics?from=2026-01-01", "from"],
  ])("%s is a BAD_REQUEST that names %s", async (path, field) => {
    const { admin } = await makeTenant(cell);
    const response = await admin.get(path);
    expect([response.status, response.body.details?.fields?.[0]?.path], response.text).toEqual([400, field]);
  });

  test("a pipeline that nobody has is refused, naming the known ones", async () => {
    const { admin } = await makeTenant(cell);
    for (const path of paths) {
      const response = await admin.get(`${path}pipelineId=0197c3a2-7c1e-7b1a-9d53-0d6b6a1f2c10`);
      expect(response.status).toBe(400);
      expect(response.body.details.fields).toEqual([expect.objectContaining({ path: "pipelineId", code: "INVALID_ENUM" })]);
    }
  });
});
