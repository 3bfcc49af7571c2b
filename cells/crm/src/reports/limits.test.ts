import type { TestClient } from "@cell/cell/testing/test-cell";
import { schemaOf } from "@cell/postgres";
import pg from "pg";
import { afterAll, beforeAll, beforeEach, describe, expect, inject, test } from "vitest";
import { startCrm, type TestCrm } from "../testing/test-crm.ts";

const patient = { statementTimeoutMs: 25_000, lockTimeoutMs: 25_000 };
let cell: TestCrm;
let hurried: TestCrm;
let tenantId: string;
let admin: TestClient;

beforeAll(async () => {
  cell = await startCrm({ ...patient, longResponseMs: 20_000 });
  hurried = await startCrm({ ...patient, longResponseMs: 700 });
  watchQueries(cell);
});
beforeEach(async () => {
  tenantId = await cell.tenant();
  admin = cell.client(tenantId);
});
afterAll(async () => {
  await cell.stop();
  await hurried.stop();
});

/** Work while every query on a tenant's opportunities takes until its end. */
async function whileSlow<T>(work: () => Promise<T>): Promise<T> {
  const client = new pg.Client({ connectionString: inject("databaseUrl") });
  await client.connect();
  try {
    await client.query("begin");
    await client.query(`lock table "${schemaOf(tenantId)}".opportunities in access exclusive mode`);
    return await work();
  } finally {
    await client.end();
  }
}

const sent: string[] = [];
const isWithinHour = /:00:00\.000Z","[^"]+(?<!:00:00\.000)Z"\]$/;

/** Notes each long query of a cell in `sent`, with its values. */
function watchQueries({ registry: { connections } }: TestCrm): void {
  const readLong = connections.readLong.bind(connections);
  connections.readLong = (access, query) => {
    const values = JSON.stringify(query.values);
    // What has entered its stage since the last full hour is another question at each moment.
    if (!isWithinHour.test(values)) sent.push(`${query.text} ${values}`);
    return readLong(access, query);
  };
}

const day = (number: number) => `2026-01-${String(number).padStart(2, "0")}`;
const reports = ["/metrics", "/pipeline/summary", "/pipeline/funnel", "/reports/funnel", "/opportunities/forecast"];

describe("a report", () => {
  test.each([
    ...reports,
    "/pipeline/summary?asOf=2026-02-01",
    "/pipeline/funnel?asOf=2026-02-01",
    "/reports/funnel?groupBy=owner&asOf=2026-02-01",
    "/reports/funnel?groupBy=month&format=csv",
  ])(
    "%s that twelve ask for at once sends no query more than twice: for the first one, and for those who have asked meanwhile",
    async (path) => {
      sent.length = 0;
      const asked = await whileSlow(async () => {
        const questions = Array.from({ length: 12 }, () => admin.get(path));
        await expect.poll(() => sent.length).toBeGreaterThan(0);
        return { questions };
      });
      expect((await Promise.all(asked.questions)).map(({ status }) => status)).toEqual(Array(12).fill(200));
      const times = Map.groupBy(sent, (query) => query);
      expect(Math.max(...[...times.values()].map(({ length }) => length))).toBeLessThanOrEqual(2);
    },
  );

  test("is refused with 429 where its tenant has three long queries running, and all else is served meanwhile", async () => {
    const other = cell.client(await cell.tenant());
    const asked = await whileSlow(async () => {
      const questions = Array.from({ length: 12 }, (_, index) => admin.get(`/reports/funnel?from=${day(index + 1)}&to=${day(index + 2)}`));
      for (let round = 0; round < 5; round++) {
        expect((await admin.get("/customers")).status).toBe(200);
        expect((await admin.post("/customers", { body: { name: `Served ${round}` } })).status).toBe(201);
        expect((await other.get("/reports/funnel")).status).toBe(200);
      }
      const refused = await Promise.race(questions);
      expect([refused.status, refused.body.code, refused.headers.get("retry-after")]).toEqual([429, "RATE_LIMITED", "2"]);
      return { questions };
    });
    const statuses = (await Promise.all(asked.questions)).map(({ status }) => status);
    expect(statuses.filter((status) => status !== 429 && status !== 200)).toEqual([]);
    expect((await admin.get(`/reports/funnel?from=${day(1)}&to=${day(2)}`)).status).toBe(200);
  });

  test.each(reports)("%s that takes longer than an answer may is refused with 504, and answered when it is asked again", async (path) => {
    const client = hurried.client(tenantId);
    await whileSlow(async () => {
      const late = await client.get(path);
      expect([late.status, late.body.code, late.headers.get("retry-after")]).toEqual([504, "TIMEOUT", "2"]);
    });
    await expect.poll(async () => (await client.get(path)).status).toBe(200);
  });
});
