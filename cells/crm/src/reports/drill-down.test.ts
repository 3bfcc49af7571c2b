import type { TestCell, TestClient } from "@cell/cell/testing/test-cell";
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

type Figures = Record<string, unknown> & { links: Record<string, string | null> };

/** Every object with links in an answer, and what it stands under. */
function linked(value: unknown, under = ""): { figures: Figures; under: string }[] {
  if (Array.isArray(value)) return value.flatMap((inner) => linked(inner, under));
  if (typeof value !== "object" || value === null) return [];
  const inside = Object.entries(value).flatMap(([name, inner]) => linked(inner, name));
  return "links" in value ? [{ figures: value as Figures, under }, ...inside] : inside;
}

/** How many opportunities a link stands for, by the answer itself. */
function countedBy(figures: Figures, name: string): unknown {
  if (name === "entries") return figures.opportunities;
  if (name === "open" && "openCount" in figures) return figures.openCount;
  if (name === "closedWon") return figures.closedWonCount;
  const figure = figures[name];
  return typeof figure === "object" && figure !== null ? (figure as { count: number }).count : figure;
}

async function follow(client: TestClient, link: string): Promise<string[]> {
  const response = await client.get(`${link}&pageSize=200`);
  expect(response.status, response.text).toBe(200);
  const ids = response.body.data.map(({ opportunityId }: { opportunityId: string }) => opportunityId);
  expect(response.body.total).toBe(ids.length);
  return ids;
}

const outcomes = ["advanced", "lost", "regressed", "movedPipeline", "still"];

test("every link of every report lists exactly the opportunities that its figure counts", async () => {
  let followed = 0;
  const check = async ({ given, asks }: Questions) => {
    const { data, tenantId } = await generateTenant(cell, given);
    for (const one of asks.slice(0, 2)) {
      const isOwn = one.ownerId !== undefined;
      const client = cell.client(tenantId, isOwn ? { userId: one.ownerId ?? "", scope: "own" } : {});
      const { asked, path } = askOf(one, data);
      // Who works on its own records sees the past of what it owns at present.
      const histories = data.histories.filter((rows) => !isOwn || rows.at(-1)?.ownerId === one.ownerId);
      const second = referenceModel({ ...data, histories }, asked);
      const arrived = second.arrived();
      const isThen = new Map(
        data.histories.flatMap((rows) => {
          const now = rows.findLast(({ at }) => at <= asked.asOf);
          return now ? [[now.opportunityId, now] as const] : [];
        }),
      );
      const bodies = await Promise.all(
        ["/pipeline/summary", `/pipeline/funnel?mode=${one.mode}`, `/reports/funnel?groupBy=${one.groupBy}`, "/opportunities/forecast"].map(
          async (url) => (await client.get(`${url}${url.includes("?") ? "&" : "?"}${path}`)).body,
        ),
      );
      const places = bodies.flatMap((body) => linked(body));
      for (const { figures, under } of places) {
        for (const [name, link] of Object.entries(figures.links)) {
          if (link === null) continue;
          followed++;
          const ids = await follow(client, link);
          const where = `${under} ${name}: ${link}`;
          if (name === "bestCase" || name === "commit") {
            const least = name === "commit" ? 80 : 50;
            for (const id of ids) expect(isThen.get(id)?.probability, where).toBeGreaterThanOrEqual(least);
            const amounts = (figures.byCurrency as Record<string, string>[]).filter((row) => Number(row[name]) > 0);
            const current = new Set(ids.filter((id) => Number(isThen.get(id)?.amount) > 0.5).map((id) => isThen.get(id)?.currency));
            expect(new Set(amounts.map(({ currency }) => currency)), where).toEqual(current);
          } else if (outcomes.includes(name) && "entries" in figures) {
            expect(ids.length, where).toBeLessThanOrEqual(figures[name] as number);
            expect(ids.length > 0, where).toBe((figures[name] as number) > 0);
            const isSuch = ({ stage, outcome }: (typeof arrived)[number]) => stage === figures.stageId && outcome === name;
            if (one.groupBy === "none")
              expect(new Set(ids), where).toEqual(new Set(arrived.filter(isSuch).map((duration) => duration.opportunityId)));
          } else expect(ids.length, where).toBe(countedBy(figures, name));
        }
      }
    }
  };
  await fc.assert(fc.asyncProperty(questions, check), { numRuns: 4, interruptAfterTimeLimit: 60_000, endOnFailure: true });
  expect(followed).toBeGreaterThan(200);
}, 120_000);
