import { createCell, endpoint, response, SealLog } from "@cell/cell";
import { serveTestCell, type TestCell, testAssertionKeys } from "@cell/cell/testing/test-cell";
import { createLogger } from "@cell/http";
import { migrateSchema } from "@cell/postgres";
import { afterAll, beforeAll, expect, inject, test } from "vitest";
import { z } from "zod";
import { cellMigrations } from "./migrations/registry.ts";
import { createRegistry } from "./registry.ts";
import { testLoginSecret } from "./testing/test-crm.ts";

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
  const databaseUrl = inject("databaseUrl");
  await migrateSchema({ url: databaseUrl, schema: "crm", migrations: cellMigrations });
  const registry = createRegistry({ databaseUrl, loginSecret: testLoginSecret, total: 10, perTenant: 4, statementTimeoutMs: 10_000 });
  const log = createLogger("crm", "error");
  const running = createCell(
    {
      name: "crm",
      title: "A cell of one command",
      description: "For this test.",
      version: "1.0.0",
      permissions: ["crm:write"],
      roles: {},
      tags: [careless.tag, "Operations"].map((name) => ({ name, description: "For this test." })),
      registry,
      assertionKeys: testAssertionKeys,
      log,
      draining: () => false,
      committed() {},
      sealWitness: new SealLog(new Map(), undefined, log),
      adoptTrail: async () => undefined,
      endTrail: async () => undefined,
      resumed() {},
    },
    [(made) => made.command(careless, async () => ({ changes: [], audit: [], body: { done: true as const } }))],
  );
  cell = await serveTestCell("crm", running, registry);
});
afterAll(() => cell.stop());

test("a command never runs with a body that its route does not take, even one that does not look at it", async () => {
  const client = cell.client(await cell.tenant());
  for (const key of [undefined, "careless"]) {
    const given = key === undefined ? {} : { key };
    for (const body of [{ number: "7" }, { number: 7, more: 1 }, []])
      expect((await client.post("/careless", { body, ...given })).status).toBe(400);
    expect((await client.post("/careless", { body: { number: 7 }, ...given })).status).toBe(200);
  }
});
