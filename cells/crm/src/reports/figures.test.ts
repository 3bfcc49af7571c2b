import type { TestCell } from "@cell/cell/testing/test-cell";
import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startCrm } from "../testing/test-crm.ts";
import { askOf, generateTenant, type Questions, questions } from "./testing/generated-tenants.ts";
import { referenceModel } from "./testing/reference-model.ts";

let cell: TestCell;

beforeAll(async () => {
  cell = await startCrm();
});
afterAll(() => cell.stop());

/** What is compared: the answer without its echo, names, links and masks. */
function figuresOf(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(figuresOf);
  if (typeof value !== "object" || value === null) return value;
  const left = ["links", "_masked", "name", "pipelineId", "asOf", "timezone", "window", "from", "to"];
  return Object.fromEntries(Object.entries(value).flatMap(([name, inner]) => (left.includes(name) ? [] : [[name, figuresOf(inner)]])));
}

test("every figure of every report equals the reference model's", async () => {
  const check = async ({ given, asks }: Questions) => {
    const { data, admin } = await generateTenant(cell, given);
    for (const one of asks) {
      const { asked, path } = askOf(one, data);
      const get = async (url: string) => {
        const response = await admin.get(url);
        expect(response.status, response.text).toBe(200);
        return { figures: figuresOf(response.body), expected: referenceModel(data, { ...asked, asOf: response.body.asOf }) };
      };
      // What was then, and what is now, which reports calculate in another way.
      for (const query of [path, path.replace(/(^|&)asOf=[^&]*/, "")]) {
        const summary = await get(`/pipeline/summary?${query}`);
        expect(summary.figures).toEqual(summary.expected.summary());
        const funnel = await get(`/pipeline/funnel?${query}&mode=${one.mode}`);
        expect(funnel.figures).toEqual(funnel.expected.funnel(one.mode));
        const report = await get(`/reports/funnel?${query}&groupBy=${one.groupBy}`);
        expect(report.figures).toEqual(report.expected.happened(one.groupBy));
        const forecast = await get(`/opportunities/forecast?${query}`);
        expect(forecast.figures).toEqual(forecast.expected.forecast());
      }
    }
  };
  await fc.assert(fc.asyncProperty(questions, check), { numRuns: 8, interruptAfterTimeLimit: 60_000, endOnFailure: true });
}, 120_000);
