import { type CellDeclaration, parseAssertionKeys } from "@cell/http";
import { afterEach, beforeEach, expect, test } from "vitest";
import { startTestCell, type TestCell, testDeclaration } from "../testing/cell.ts";
import { createDatabase, startTestGateway, type TestGateway } from "../testing/gateway.ts";

let [older, newer]: TestCell[] = [];
let database: string;
let gateway: TestGateway | undefined;

beforeEach(async () => {
  [older, newer] = [await startTestCell(), await startTestCell()];
  database = await createDatabase();
});

afterEach(async () => {
  await gateway?.stop();
  await older?.close();
  await newer?.close();
});

const withRoutes = (...routes: CellDeclaration["routes"]): CellDeclaration => ({ ...testDeclaration, routes });

/** The additional field in errors of this path, which shows the route's declaration. */
async function errorFieldOf(path: string): Promise<string | undefined> {
  const { body } = await (gateway as TestGateway).call(`/api/v1/crm${path}`, { key: "" });
  return ["detail", "error", "success"].find((field) => field in body);
}

const start = async () => {
  gateway = await startTestGateway(database, `crm=${older?.url},crm=${newer?.url}`);
};

test("while two versions run, a route counts as soon as one partition declares it, and the first one decides", async () => {
  if (!older || !newer) throw new Error("no cells");
  older.declaration = withRoutes({ method: "GET", path: "/both", policy: { errorForm: "detail" } }, { method: "GET", path: "/old" });
  newer.declaration = withRoutes(
    { method: "GET", path: "/both", policy: { errorForm: "error" } },
    { method: "GET", path: "/new", policy: { errorForm: "error" } },
  );
  await start();
  expect([await errorFieldOf("/both"), await errorFieldOf("/new"), await errorFieldOf("/old")]).toEqual(["detail", "error", undefined]);
  await gateway?.stop();
  older.declaration = newer.declaration;
  await start();
  await expect.poll(() => errorFieldOf("/both"), { timeout: 10_000 }).toBe("error");
});

test("a gateway that starts without any partition knows the last declarations from its database", async () => {
  if (!older || !newer) throw new Error("no cells");
  newer.declaration = older.declaration = withRoutes({ method: "GET", path: "/form", policy: { errorForm: "detail" } });
  await start();
  expect(await errorFieldOf("/form")).toBe("detail");
  await gateway?.stop();
  older.keys = newer.keys = parseAssertionKeys(`other:${"z".repeat(43)}`);
  await start();
  expect(await errorFieldOf("/form")).toBe("detail");
});
