import { randomBytes, randomUUID } from "node:crypto";
import { operationsOf, sampleOf } from "@cell/cell/testing/conformance";
import type { TestClient, TestResponse } from "@cell/cell/testing/test-cell";
import { schemaOf } from "@cell/postgres";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { crmDocument } from "./openapi.ts";
import {
  collectionOf,
  comparable,
  fingerprint,
  type IsolationFixture,
  nobody,
  type Operation,
  pipelineStages,
  populate,
  quiet,
  recordStatements,
  referred,
} from "./testing/isolation-world.ts";
import { startCrm, type TestCrm } from "./testing/test-crm.ts";

const document = await crmDocument();
const operations = operationsOf(document).filter(({ permission }) => permission !== "cell:admin");
const named = operations.map((operation) => [`${operation.method} ${operation.path}`, operation] as const);

interface Parameter {
  name: string;
  in: string;
}
const paths = (document as { paths: Record<string, Record<string, { parameters?: Parameter[] }>> }).paths;
const queryOf = ({ method, path }: Operation) =>
  (paths[path]?.[method.toLowerCase()]?.parameters ?? []).filter((parameter) => parameter.in === "query").map(({ name }) => name);
/** Parameters that say how, not which. */
const formal = new Set([
  "page",
  "pageSize",
  "sort",
  "total",
  "reveal",
  "format",
  "bom",
  "include",
  "groupBy",
  "mode",
  "period",
  "currency",
  "asOf",
]);

describe.each(["own", "shared"] as const)("with logins %s, a tenant's caller with another tenant's", (logins) => {
  let cell: TestCrm;
  let mine: IsolationFixture;
  let theirs: IsolationFixture;
  let theirTenant: string;
  let caller: TestClient;
  let before: Record<string, string>;

  beforeAll(async () => {
    cell = await startCrm({ logins });
    const ours = await cell.tenant();
    theirTenant = await cell.tenant();
    caller = cell.client(ours);
    mine = await populate(caller, `mine${randomBytes(6).toString("hex")}`);
    theirs = await populate(cell.client(theirTenant, { userId: "their-user" }), `theirs${randomBytes(6).toString("hex")}`);
    // What it sends is not of any request, and moves their tables.
    await cell.dispatcher.stop();
    await quiet();
    before = await fingerprint(theirTenant);
  });
  afterAll(async () => {
    await cell.stop();
  });

  /** Sends a request, and sees to it that the answer holds nothing of the other tenant's but what the request named. */
  async function ask(method: string, path: string, request: object = {}, client = caller): Promise<TestResponse> {
    const response = await client.send(method, path, request);
    const asked = path + JSON.stringify(request);
    // The caller's own trail holds what the caller itself asked for.
    const values = path.startsWith("/audit-logs") ? [] : [theirs.ownerId, ...Object.values(theirs.ids)];
    for (const secret of [theirs.mark, theirTenant, ...values])
      if (!asked.includes(secret) && secret !== client.principal.userId) expect(response.text, `${method} ${path}`).not.toContain(secret);
    return response;
  }

  const requestOf = ({ content }: Operation, body?: object) => {
    const json = content["application/json"];
    if (json) return { body: body ?? sampleOf(document, json.schema ?? {}) };
    const [type] = Object.keys(content);
    return type ? { raw: "name\n", headers: { "content-type": type } } : {};
  };
  const pathWith = (path: string, id: string, deliveryId: string) => path.replace("{deliveryId}", deliveryId).replace(/\{\w+\}/, id);

  describe.each(named.filter(([, { hasParams }]) => hasParams))("id in the path of %s", (_, operation) => {
    test("finds what an id finds that nobody has, by the same statements", async () => {
      const id = theirs.ids[collectionOf(operation.path)];
      const deliveryId = theirs.ids["{deliveryId}"] ?? "";
      expect(id, "populate() in testing/isolation-world.ts must create a record of this kind").toBeDefined();
      if (!id) return;
      const request = requestOf(operation);
      const unknown = [nobody(), nobody()] as const;
      const watch = recordStatements();
      const foreign = await ask(operation.method, pathWith(operation.path, id, deliveryId), request);
      // On a shared login the first of the two takes the caller's role; a tenant's settings are read anew every few seconds.
      const isOfEither = (text: string) => text.startsWith("set role") || text.endsWith('"settings"');
      const texts = () => watch.sent.splice(0).flatMap(({ text }) => (isOfEither(text) ? [] : [text]));
      const foreignStatements = texts();
      const missing = await ask(operation.method, pathWith(operation.path, ...unknown), request);
      watch.stop();
      expect(comparable(foreign, id, deliveryId)).toEqual(comparable(missing, ...unknown));
      expect(foreignStatements).toEqual(texts());
      expect([404, 200]).toContain(foreign.status);
      if (operation.path.includes("{deliveryId}")) {
        const own = mine.ids[collectionOf(operation.path)] ?? "";
        const under = await ask(operation.method, pathWith(operation.path, own, deliveryId), request);
        expect(comparable(under, deliveryId)).toEqual(
          comparable(await ask(operation.method, pathWith(operation.path, own, unknown[0]), request), unknown[0]),
        );
      }
    });
  });

  describe.each(named.filter(([, operation]) => queryOf(operation).some((name) => !formal.has(name))))(
    "values in the query of %s",
    (_, operation) => {
      test("is answered as one is whose values nobody has", async () => {
        const path = pathWith(operation.path, mine.ids[collectionOf(operation.path)] ?? "", mine.ids["{deliveryId}"] ?? "");
        const texts: Record<string, string> = {
          ownerId: theirs.ownerId,
          actorId: theirs.ownerId,
          requestId: theirs.requestId,
          keyword: theirs.word,
        };
        for (const name of queryOf(operation).filter((parameter) => !formal.has(parameter))) {
          const id = referred(theirs, name) ?? texts[name];
          if (id === undefined) continue;
          const other = id.includes("-") && id.length === 36 ? nobody() : id.replace(/[0-9a-f]{4}|user/, "zzzz");
          const request = requestOf(operation);
          const [foreign, missing] = [
            await ask(operation.method, `${path}?${name}=${id}`, request),
            await ask(operation.method, `${path}?${name}=${other}`, request),
          ];
          expect(comparable(foreign, id), name).toEqual(comparable(missing, other));
        }
      });

      if (queryOf(operation).includes("cursor")) {
        test("cursor leads to no row that is not the caller's", async () => {
          const path = pathWith(operation.path, mine.ids[collectionOf(operation.path)] ?? "", "");
          for (const cursor of Object.values(theirs.cursors)) {
            const response = await ask(operation.method, `${path}?cursor=${encodeURIComponent(cursor)}`);
            expect([200, 400], response.text).toContain(response.status);
          }
          for (const filter of [`createdAt[gte]:2000-01-01T00:00:00Z`, `name[contains]:${theirs.word}`])
            await ask(operation.method, `${path}?filter=${encodeURIComponent(filter)}`);
        });
      }
    },
  );

  const writes = named.filter(([, { content }]) => content["application/json"]);
  describe.each(writes)("references in the body of %s", (_, operation) => {
    test("is refused as one is whose references nobody has", async () => {
      const references = Object.fromEntries(
        ["customer", "contact", "pipeline", "opportunity", "contract", "payment"].map((kind) => [`${kind}Id`, mine.ids[`/${kind}s`] ?? ""]),
      );
      const schema = operation.content["application/json"]?.schema ?? {};
      const sample = sampleOf(document, schema, { ...references, stage: "new" }) as Record<string, unknown>;
      const path = pathWith(operation.path, mine.ids[collectionOf(operation.path)] ?? "", "");
      for (const [name, value] of Object.entries({ ...sample, ...(operation.path.endsWith("/merge") ? { sourceIds: [""] } : {}) })) {
        const id = name.endsWith("Id") || name.endsWith("Ids") ? referred(theirs, name) : undefined;
        if (id === undefined) continue;
        const other = nobody();
        const body = (given: string) => ({ ...sample, [name]: Array.isArray(value) ? [given] : given });
        const foreign = await ask(operation.method, path, { body: body(id) });
        const missing = await ask(operation.method, path, { body: body(other) });
        expect(comparable(foreign, id), name).toEqual(comparable(missing, other));
        expect(foreign.status, `${name} ${foreign.text}`).toBeGreaterThanOrEqual(400);
      }
    });
  });

  test("ids and names in imports finds what ids and names find that nobody has", async () => {
    const client = cell.client(await cell.tenant());
    const counts = ({ status, body }: TestResponse) => [status, body.total, body.created, body.updated, body.failed, body.errors];
    const send = (path: string, raw: string) => ask("POST", path, { raw, headers: { "content-type": "text/csv" } }, client);
    for (const [path, row] of [
      [
        "/opportunities/import",
        (fixture: IsolationFixture, id: string) => `customerId,name,amount,stage\n${id},${fixture.mark},1,prospecting`,
      ],
      [
        "/opportunities/import",
        (fixture: IsolationFixture) => `customerName,name,amount,stage\n${fixture.mark} 1,${fixture.mark},1,prospecting`,
      ],
      [
        "/customers/import?matchBy=customerId&mode=upsert",
        (fixture: IsolationFixture, id: string) => `customerId,name\n${id},${fixture.mark} new`,
      ],
      ["/customers/import?mode=upsert", (fixture: IsolationFixture) => `name,notes\n${fixture.mark} 1,x`],
    ] as const) {
      const unknown = { ...theirs, mark: `unknown${randomBytes(6).toString("hex")}` };
      const other = nobody();
      const id = theirs.ids["/customers"] ?? "";
      const [foreign, missing] = [await send(path, row(theirs, id)), await send(path, row(unknown, other))];
      const plain = (response: TestResponse, fixture: IsolationFixture, given: string) =>
        JSON.stringify(counts(response)).replaceAll(fixture.mark, "mark").replaceAll(given, "id");
      expect(plain(foreign, theirs, id), path).toBe(plain(missing, unknown, other));
    }
  });

  test("names, numbers and request ids takes them as its own", async () => {
    const client = cell.client(await cell.tenant(), { userId: theirs.ownerId });
    const customer = await ask("POST", "/customers", { body: { name: `${theirs.mark} 1` }, key: theirs.requestId }, client);
    const { customerId } = customer.body;
    const contract = { customerId, name: theirs.mark, number: theirs.mark, amount: "1.00" };
    const webhook = { url: `http://127.0.0.1:18249/${theirs.mark}`, events: ["customer.created"] };
    const made = [
      customer,
      await ask("POST", "/contracts", { body: contract, key: theirs.requestId }, client),
      await ask("POST", "/webhooks", { body: webhook, key: theirs.requestId }, client),
      await ask("POST", "/pipelines", { body: { name: theirs.mark, stages: pipelineStages(theirs.mark) }, key: theirs.requestId }, client),
    ];
    for (const response of made)
      expect([response.status, response.headers.get("idempotency-replayed")], response.text).toEqual([201, null]);
    const own = cell.client(theirTenant, { userId: theirs.ownerId });
    const id = theirs.ids["/customers"];
    const { headers } = await own.get(`/customers/${id}`);
    const etag = { "if-match": headers.get("etag") ?? "", "if-none-match": headers.get("etag") ?? "" };
    for (const method of ["GET", "PATCH", "DELETE"]) {
      const unknown = nobody();
      const request = { headers: etag, ...(method === "PATCH" ? { body: { notes: "x" } } : {}) };
      const foreign = await ask(method, `/customers/${id}`, request);
      expect(comparable(foreign, id ?? "")).toEqual(comparable(await ask(method, `/customers/${unknown}`, request), unknown));
    }
  });

  test("writes sees no total, report, page, export or trail of its own move", async () => {
    const looks = [
      "/customers",
      "/contacts",
      "/opportunities",
      "/contracts",
      "/payments",
      "/pipelines",
      "/metrics",
      "/pipeline/summary",
      "/pipeline/funnel",
    ];
    looks.push("/reports/funnel", "/opportunities/forecast", "/audit-logs?action=create", "/customers/export", "/opportunities/export");
    looks.push(`/customers/${mine.ids["/customers"]}/360`, "/settings", "/webhooks");
    const look = () => Promise.all(looks.map(async (path) => comparable(await ask("GET", path))));
    const seen = await look();
    await populate(cell.client(theirTenant, { userId: theirs.ownerId }), `${theirs.mark}-more`);
    expect(await look()).toEqual(seen);
    before = await fingerprint(theirTenant);
  });

  test("connections is never on them: each statement is one, is of the caller's schema alone, and comes by its login", async () => {
    const schema = schemaOf(caller.principal.tenantId);
    const watch = recordStatements();
    for (const [, operation] of named) {
      const path = pathWith(operation.path, mine.ids[collectionOf(operation.path)] ?? "", mine.ids["{deliveryId}"] ?? "");
      if (operation.method === "GET") await ask("GET", path, {});
    }
    await ask("POST", "/customers", { body: { name: `Mine ${randomUUID()}` }, key: "own" });
    watch.stop();
    const statements = watch.sent.filter(({ user }) => user === schema || user === "crm_shared");
    expect(statements.length).toBeGreaterThan(30);
    expect(new Set(statements.map(({ user }) => user))).toEqual(new Set([logins === "own" ? schema : "crm_shared"]));
    for (const { text, mode } of statements) {
      const others = [...text.matchAll(/"(tenant_\w+)"/g)].map(([, name]) => name).filter((name) => name !== schema);
      expect(others, text).toEqual([]);
      if (text.includes(schema) && !text.startsWith("set role")) expect(mode, text).toBe("extended");
    }
  });

  test("name has changed nothing of theirs in all of this", async () => {
    for (const [, operation] of named) {
      if (!operation.hasParams || operation.method === "GET") continue;
      const path = pathWith(operation.path, theirs.ids[collectionOf(operation.path)] ?? "", theirs.ids["{deliveryId}"] ?? "");
      await ask(operation.method, path, requestOf(operation));
    }
    expect(await fingerprint(theirTenant)).toEqual(before);
  });
});
