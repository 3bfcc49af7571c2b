import { randomBytes, randomUUID } from "node:crypto";
import type { Document } from "@cell/http/openapi/document";
import { schemaOf, type TenantLogins } from "@cell/postgres";
import { fingerprint } from "@cell/postgres/testing/inspect";
import { quiet, recordStatements } from "@cell/postgres/testing/statement-watch";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { operationsOf, sampleOf } from "./conformance.ts";
import { collectionOf, comparable, type IsolationScope, type IsolationWorld, nobody, referredCollection } from "./isolation-world.ts";
import type { TestResponse } from "./test-cell.ts";

type Operation = ReturnType<typeof operationsOf>[number];

/** Parameters of every list that choose a form and no record. */
const formalParameters = ["page", "pageSize", "sort", "total", "reveal", "format", "bom"];

/**
 * Attacks every route of a cell's document with the ids, names, cursors and request ids of another tenant, with both kinds of logins: nothing
 * of the other tenant is found, changed, counted or named. `own`: tests of the cell's own, by names that continue the group's.
 */
export function describeIsolation<Services extends object>(
  document: Document,
  world: IsolationWorld<Services>,
  own: (scope: IsolationScope<Services>) => void = () => undefined,
): void {
  describe.each(["own", "shared"] as const)("with logins %s, a tenant's caller with another tenant's", (logins) =>
    describeWith(logins, document, world, own),
  );
}

function describeWith<Services extends object>(
  logins: TenantLogins,
  document: Document,
  world: IsolationWorld<Services>,
  own: (scope: IsolationScope<Services>) => void,
): void {
  const operations = operationsOf(document).filter(({ permission }) => permission !== "cell:admin");
  const named = operations.map((operation) => [`${operation.method} ${operation.path}`, operation] as const);
  const formal = new Set([...formalParameters, ...(world.formalParameters ?? [])]);
  const queryOf = ({ query }: Operation) => query.map(({ name }) => name);
  const referred = (name: string) => world.collections?.[name] ?? referredCollection(name);
  const fieldOf = (path: string) => `${path.slice(1).replace(/ies$/, "ys").replace(/s$/, "")}Id`;
  // Filled before the tests; those of the cell's own hold on to the object.
  const scope = { ask } as IsolationScope<Services>;
  let before: Record<string, string>;

  beforeAll(async () => {
    scope.cell = await world.start(logins);
    scope.caller = scope.cell.client(await scope.cell.tenant());
    scope.theirTenant = await scope.cell.tenant();
    scope.mine = await world.populate(scope.caller, `mine${randomBytes(6).toString("hex")}`);
    const others = scope.cell.client(scope.theirTenant, { userId: "their-user" });
    scope.theirs = await world.populate(others, `theirs${randomBytes(6).toString("hex")}`);
    await world.settle?.(scope.cell);
    await quiet();
    before = await fingerprint(scope.theirTenant);
  });
  afterAll(async () => {
    await scope.cell.stop();
  });

  async function ask(method: string, path: string, request: object = {}, client = scope.caller): Promise<TestResponse> {
    const response = await client.send(method, path, request);
    const asked = path + JSON.stringify(request);
    // The caller's own trail holds what the caller itself asked for.
    const values = path.startsWith("/audit-logs") ? [] : [scope.theirs.ownerId, ...Object.values(scope.theirs.ids)];
    for (const secret of [scope.theirs.mark, scope.theirTenant, ...values])
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
      const id = scope.theirs.ids[collectionOf(operation.path)];
      const deliveryId = scope.theirs.ids["{deliveryId}"] ?? "";
      expect(id, "populate must make a record of this kind").toBeDefined();
      if (!id) return;
      const request = requestOf(operation);
      const unknown = [nobody(), nobody()] as const;
      const watch = recordStatements();
      const foreign = await scope.ask(operation.method, pathWith(operation.path, id, deliveryId), request);
      // On a shared login the first of the two takes the caller's role; a tenant's settings are read anew every few seconds.
      const isOfEither = (text: string) => text.startsWith("set role") || text.endsWith('"settings"');
      const texts = () => watch.sent.splice(0).flatMap(({ text }) => (isOfEither(text) ? [] : [text]));
      const foreignStatements = texts();
      const missing = await scope.ask(operation.method, pathWith(operation.path, ...unknown), request);
      watch.stop();
      expect(comparable(foreign, id, deliveryId)).toEqual(comparable(missing, ...unknown));
      expect(foreignStatements).toEqual(texts());
      expect([404, 200]).toContain(foreign.status);
      if (operation.path.includes("{deliveryId}")) {
        const own = scope.mine.ids[collectionOf(operation.path)] ?? "";
        const under = await scope.ask(operation.method, pathWith(operation.path, own, deliveryId), request);
        expect(comparable(under, deliveryId)).toEqual(
          comparable(await scope.ask(operation.method, pathWith(operation.path, own, unknown[0]), request), unknown[0]),
        );
      }
    });
  });

  describe.each(named.filter(([, operation]) => queryOf(operation).some((name) => !formal.has(name))))(
    "values in the query of %s",
    (_, operation) => {
      test("is answered as one is whose values nobody has", async () => {
        const path = pathWith(operation.path, scope.mine.ids[collectionOf(operation.path)] ?? "", scope.mine.ids["{deliveryId}"] ?? "");
        const texts: Record<string, string> = {
          ownerId: scope.theirs.ownerId,
          actorId: scope.theirs.ownerId,
          requestId: scope.theirs.requestId,
          keyword: scope.theirs.word,
        };
        for (const name of queryOf(operation).filter((parameter) => !formal.has(parameter))) {
          const id = scope.theirs.ids[referred(name)] ?? texts[name];
          if (id === undefined) continue;
          const other = id.includes("-") && id.length === 36 ? nobody() : id.replace(/[0-9a-f]{4}|user/, "zzzz");
          const request = requestOf(operation);
          const [foreign, missing] = [
            await scope.ask(operation.method, `${path}?${name}=${id}`, request),
            await scope.ask(operation.method, `${path}?${name}=${other}`, request),
          ];
          expect(comparable(foreign, id), name).toEqual(comparable(missing, other));
        }
      });

      if (queryOf(operation).includes("cursor")) {
        test("cursor leads to no row that is not the caller's", async () => {
          const path = pathWith(operation.path, scope.mine.ids[collectionOf(operation.path)] ?? "", "");
          for (const cursor of Object.values(scope.theirs.cursors)) {
            const response = await scope.ask(operation.method, `${path}?cursor=${encodeURIComponent(cursor)}`);
            expect([200, 400], response.text).toContain(response.status);
          }
          for (const filter of [`createdAt[gte]:2000-01-01T00:00:00Z`, `name[contains]:${scope.theirs.word}`])
            await scope.ask(operation.method, `${path}?filter=${encodeURIComponent(filter)}`);
        });
      }
    },
  );

  const writes = named.filter(([, { content }]) => content["application/json"]);
  describe.each(writes)("references in the body of %s", (_, operation) => {
    test("is refused as one is whose references nobody has", async () => {
      const references = Object.fromEntries(Object.keys(scope.mine.ids).map((path) => [fieldOf(path), scope.mine.ids[path] ?? ""]));
      const schema = operation.content["application/json"]?.schema ?? {};
      const sample = sampleOf(document, schema, { ...references, ...world.sample }) as Record<string, unknown>;
      const path = pathWith(operation.path, scope.mine.ids[collectionOf(operation.path)] ?? "", "");
      for (const [name, value] of Object.entries({ ...sample, ...(operation.path.endsWith("/merge") ? { sourceIds: [""] } : {}) })) {
        const id = name.endsWith("Id") || name.endsWith("Ids") ? scope.theirs.ids[referred(name)] : undefined;
        if (id === undefined) continue;
        const other = nobody();
        const body = (given: string) => ({ ...sample, [name]: Array.isArray(value) ? [given] : given });
        const foreign = await scope.ask(operation.method, path, { body: body(id) });
        const missing = await scope.ask(operation.method, path, { body: body(other) });
        expect(comparable(foreign, id), name).toEqual(comparable(missing, other));
        expect(foreign.status, `${name} ${foreign.text}`).toBeGreaterThanOrEqual(400);
      }
    });
  });

  test("writes sees no total, report, page, export or trail of its own move", async () => {
    const look = () => Promise.all(world.looks(scope.mine.ids).map(async (path) => comparable(await scope.ask("GET", path))));
    const seen = await look();
    await world.populate(scope.cell.client(scope.theirTenant, { userId: scope.theirs.ownerId }), `${scope.theirs.mark}-more`);
    expect(await look()).toEqual(seen);
    before = await fingerprint(scope.theirTenant);
  });

  test("connections is never on them: each statement is one, is of the caller's schema alone, and comes by its login", async () => {
    const schema = schemaOf(scope.caller.principal.tenantId);
    const watch = recordStatements();
    for (const [, operation] of named) {
      const path = pathWith(operation.path, scope.mine.ids[collectionOf(operation.path)] ?? "", scope.mine.ids["{deliveryId}"] ?? "");
      if (operation.method === "GET") await scope.ask("GET", path, {});
    }
    const written = world.write(`mine${randomUUID()}`);
    await scope.ask("POST", written.path, { body: written.body, key: "own" });
    watch.stop();
    const statements = watch.sent.filter(({ user }) => user === schema || user === world.sharedLogin);
    expect(statements.length).toBeGreaterThan(world.leastStatements);
    expect(new Set(statements.map(({ user }) => user))).toEqual(new Set([logins === "own" ? schema : world.sharedLogin]));
    for (const { text, mode } of statements) {
      const others = [...text.matchAll(/"(tenant_\w+)"/g)].map(([, name]) => name).filter((name) => name !== schema);
      expect(others, text).toEqual([]);
      if (text.includes(schema) && !text.startsWith("set role")) expect(mode, text).toBe("extended");
    }
  });

  own(scope);

  test("name has changed nothing of theirs in all of this", async () => {
    for (const [, operation] of named) {
      if (!operation.hasParams || operation.method === "GET") continue;
      const path = pathWith(operation.path, scope.theirs.ids[collectionOf(operation.path)] ?? "", scope.theirs.ids["{deliveryId}"] ?? "");
      await scope.ask(operation.method, path, requestOf(operation));
    }
    expect(await fingerprint(scope.theirTenant)).toEqual(before);
  });
}
