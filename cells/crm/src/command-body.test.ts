import { cellSettings, endpoint, response } from "@cell/cell";
import { startTestCell } from "@cell/cell/testing/start-test-cell";
import type { TestCell } from "@cell/cell/testing/test-cell";
import { afterAll, beforeAll, expect, test } from "vitest";
import { z } from "zod";
import { cellMigrations } from "./migrations/registry.ts";
import { tenantMigrations } from "./migrations/tenant.ts";

const careless = endpoint({
  method: "post",
  path: "/careless",
  permission: "crm:write",
  tag: "Test",
  summary: "Does its work without a look at what it was sent",
  body: z.strictObject({ number: z.int() }),
  status: 200,
  visibility: "everyone",
  response: response(z.object({ done: z.literal(true) })),
});

let cell: TestCell;

beforeAll(async () => {
  cell = await startTestCell({
    name: "crm",
    title: "A cell of one command",
    description: "For this test.",
    permissions: ["crm:write"],
    roles: {},
    tags: [careless.tag, "Operations"].map((name) => ({ name, description: "For this test." })),
    settings: cellSettings({ port: 0 }),
    schemaMigrations: cellMigrations,
    tenantMigrations,
    slices: [(made) => made.command(careless, async () => ({ changes: [], audit: [], body: { done: true as const } }))],
  });
});
afterAll(() => cell.stop());

test("a command never runs with an invalid body, even if its handler does not read it", async () => {
  const client = cell.client(await cell.tenant());
  for (const key of [undefined, "careless"]) {
    const given = key === undefined ? {} : { key };
    for (const body of [{ number: "7" }, { number: 7, more: 1 }, []])
      expect((await client.post("/careless", { body, ...given })).status).toBe(400);
    expect((await client.post("/careless", { body: { number: 7 }, ...given })).status).toBe(200);
  }
});
