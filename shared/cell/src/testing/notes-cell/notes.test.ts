import { randomBytes } from "node:crypto";
import { afterAll, beforeAll, expect, test } from "vitest";
import { cellDocument } from "../../index.ts";
import { describeConformance } from "../conformance.ts";
import { describeFuzz } from "../fuzz.ts";
import { describeIsolation } from "../isolation.ts";
import { describeLogins } from "../logins.ts";
import { type StartedTestCell, startTestCell } from "../start-test-cell.ts";
import type { TestClient } from "../test-cell.ts";
import { notes } from "./notes.ts";

const document = await cellDocument(notes, notes.slices);

describeConformance(
  document,
  () => startTestCell(notes),
  async () => ({}),
);

describeFuzz(document, {
  start: () => startTestCell(notes),
  async furnish(client, known) {
    for (const body of ["First", "第二"]) known.learn((await client.post("/notes", { body: { body } })).body);
  },
});

describeIsolation(document, {
  start: (logins) => startTestCell(notes, { logins }),
  async populate(client, mark) {
    const word = `word${randomBytes(6).toString("hex")}`;
    const { noteId } = (await client.post("/notes", { body: { body: `${mark} ${word}` }, key: `${mark}-key` })).body;
    await client.post("/notes", { body: { body: `${mark} 2` } });
    const { nextCursor } = (await client.get("/notes?pageSize=1")).body;
    const [entry] = (await client.get("/audit-logs?pageSize=1")).body.data;
    const ids = { "/notes": noteId, "/audit-logs": entry.id };
    return { mark, word, ids, cursors: { "/notes": nextCursor }, requestId: `${mark}-key`, ownerId: client.principal.userId };
  },
  write: (mark) => ({ path: "/notes", body: { body: mark } }),
  looks: () => ["/notes", "/notes/export", "/audit-logs?action=create", "/settings"],
  sharedLogin: "notes_shared",
  leastStatements: 4,
  collections: { resourceId: "/notes" },
});

describeLogins({
  cell: "notes",
  start: (options) => startTestCell(notes, options),
  path: "/notes",
  record: (body) => ({ body }),
  table: "notes",
  column: "body",
});

let cell: StartedTestCell<object>;
let tenantId: string;
let client: TestClient;

beforeAll(async () => {
  cell = await startTestCell(notes);
  tenantId = await cell.tenant();
  client = cell.client(tenantId);
});
afterAll(() => cell.stop());

test("a cell of one resource has an audit log of its writes, which verifies once it is sealed", async () => {
  const { noteId } = (await client.post("/notes", { body: { body: "Audited" } })).body;
  expect((await client.get("/audit-logs?resourceType=note")).body.data).toMatchObject([{ action: "create", resourceId: noteId }]);
  await cell.sealAll(tenantId);
  expect((await client.get("/audit-logs/verify")).body).toMatchObject({ ok: true, checked: 1, firstBroken: null });
});

test("a cell of one resource replays a repeated request id", async () => {
  const [first, again] = [
    await client.post("/notes", { body: { body: "Once" }, key: "once" }),
    await client.post("/notes", { body: { body: "Once" }, key: "once" }),
  ];
  expect([first.status, again.headers.get("idempotency-replayed"), again.text]).toEqual([201, "true", first.text]);
});

test("a cell of one resource has settings of its tenants", async () => {
  expect((await client.get("/settings")).body).toMatchObject({ timezone: "UTC", requireRequestId: false, idempotencyMode: "replay" });
  const changed = await client.patch("/settings", { body: { timezone: "asia/shanghai" } });
  expect([changed.status, changed.body.timezone, changed.body.version]).toEqual([200, "Asia/Shanghai", 2]);
  expect((await client.patch("/settings", { body: { currency: "CNY" } })).status).toBe(400);
});

test("a cell of one resource exports its records as CSV", async () => {
  const own = cell.client(await cell.tenant());
  await own.post("/notes", { body: { body: "=1+1" } });
  const file = await own.get("/notes/export?format=csv&bom=false");
  expect(file.headers.get("content-type")).toBe("text/csv; charset=utf-8");
  expect(file.text).toMatch(/^noteId,.*body.*\r\n.*,'=1\+1,/);
});
