import { randomBytes } from "node:crypto";
import { describeIsolation } from "@cell/cell/testing/isolation";
import { comparable, type IsolationFixture, nobody } from "@cell/cell/testing/isolation-world";
import type { TestResponse } from "@cell/cell/testing/test-cell";
import { expect, test } from "vitest";
import { crmDocument } from "./openapi.ts";
import { isolationWorld, pipelineStages } from "./testing/isolation-world.ts";

describeIsolation(await crmDocument(), isolationWorld, (scope) => {
  test("ids and names in imports finds what ids and names find that nobody has", async () => {
    const client = scope.cell.client(await scope.cell.tenant());
    const counts = ({ status, body }: TestResponse) => [status, body.total, body.created, body.updated, body.failed, body.errors];
    const send = (path: string, raw: string) => scope.ask("POST", path, { raw, headers: { "content-type": "text/csv" } }, client);
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
      const unknown = { ...scope.theirs, mark: `unknown${randomBytes(6).toString("hex")}` };
      const other = nobody();
      const id = scope.theirs.ids["/customers"] ?? "";
      const [foreign, missing] = [await send(path, row(scope.theirs, id)), await send(path, row(unknown, other))];
      const plain = (response: TestResponse, fixture: IsolationFixture, given: string) =>
        JSON.stringify(counts(response)).replaceAll(fixture.mark, "mark").replaceAll(given, "id");
      expect(plain(foreign, scope.theirs, id), path).toBe(plain(missing, unknown, other));
    }
  });

  test("names, numbers and request ids takes them as its own", async () => {
    const client = scope.cell.client(await scope.cell.tenant(), { userId: scope.theirs.ownerId });
    const customer = await scope.ask(
      "POST",
      "/customers",
      { body: { name: `${scope.theirs.mark} 1` }, key: scope.theirs.requestId },
      client,
    );
    const { customerId } = customer.body;
    const contract = { customerId, name: scope.theirs.mark, number: scope.theirs.mark, amount: "1.00" };
    const webhook = { url: `http://127.0.0.1:18249/${scope.theirs.mark}`, events: ["customer.created"] };
    const made = [
      customer,
      await scope.ask("POST", "/contracts", { body: contract, key: scope.theirs.requestId }, client),
      await scope.ask("POST", "/webhooks", { body: webhook, key: scope.theirs.requestId }, client),
      await scope.ask(
        "POST",
        "/pipelines",
        { body: { name: scope.theirs.mark, stages: pipelineStages(scope.theirs.mark) }, key: scope.theirs.requestId },
        client,
      ),
    ];
    for (const response of made)
      expect([response.status, response.headers.get("idempotency-replayed")], response.text).toEqual([201, null]);
    const own = scope.cell.client(scope.theirTenant, { userId: scope.theirs.ownerId });
    const id = scope.theirs.ids["/customers"];
    const { headers } = await own.get(`/customers/${id}`);
    const etag = { "if-match": headers.get("etag") ?? "", "if-none-match": headers.get("etag") ?? "" };
    for (const method of ["GET", "PATCH", "DELETE"]) {
      const unknown = nobody();
      const request = { headers: etag, ...(method === "PATCH" ? { body: { notes: "x" } } : {}) };
      const foreign = await scope.ask(method, `/customers/${id}`, request);
      expect(comparable(foreign, id ?? "")).toEqual(comparable(await scope.ask(method, `/customers/${unknown}`, request), unknown));
    }
  });
});
