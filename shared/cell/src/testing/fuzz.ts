import type { Document } from "@cell/http/openapi/document";
import { readFuzzSettings } from "@cell/http/testing/config";
import { type FuzzRequest, fuzzOperations, Known } from "@cell/http/testing/fuzz";
import { schemaOf } from "@cell/postgres";
import { fingerprint } from "@cell/postgres/testing/inspect";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { StartedTestCell } from "./start-test-cell.ts";
import type { TestClient, TestResponse } from "./test-cell.ts";

/** What a cell brings to `describeFuzz`. */
export interface FuzzWorld {
  start(): Promise<StartedTestCell<object>>;
  /** Fills a tenant with records of each kind, and tells `known` what requests may refer to. */
  furnish(client: TestClient, known: Known): Promise<void>;
  /** Resolves when work in the background that a request has started is done: it would write while the next request is judged. */
  settle?(response: TestResponse, admin: TestClient): Promise<void>;
  /** Checks of the cell's own on the tenant to which nothing was sent. */
  assertUnchanged?(neighbour: TestClient): Promise<void>;
}

/**
 * Sends valid, boundary and hostile requests to every route of a cell's document, by callers of different rights: each response must be one
 * that the document declares, and a refusal must change nothing. FUZZ_RUNS and FUZZ_SEED say how many and which.
 */
export function describeFuzz(document: Document, world: FuzzWorld): void {
  const { runs, seed } = readFuzzSettings();
  const known = new Known();
  const operations = fuzzOperations(document, known);
  let cell: StartedTestCell<object>;
  let tenantId: string;
  let neighbour: string;
  let neighbourBefore: Record<string, string>;
  let callers: TestClient[];

  beforeAll(async () => {
    cell = await world.start();
    [tenantId, neighbour] = [await cell.tenant(), await cell.tenant()];
    const [admin, foreign] = [cell.client(tenantId), cell.client(neighbour)];
    const ownRecords = cell.client(tenantId, { userId: "user-002", scope: "own" });
    const masked = cell.client(tenantId, { permissions: admin.principal.permissions.filter((one) => !/^(?:pii|amount):/.test(one)) });
    callers = [admin, admin, ownRecords, masked];
    for (const client of [admin, foreign]) await world.furnish(client, known);
    neighbourBefore = await fingerprint(neighbour);
  });
  afterAll(() => cell.stop());

  /** Number of audit entries and of stored responses: a refused request adds to neither. */
  async function traces(): Promise<unknown> {
    const schema = schemaOf(tenantId);
    const text = `select (select count(*) from "${schema}".audit_logs) as entries, (select count(*) from "${schema}".idempotency_keys) as responses`;
    return (await cell.registry.owner.query(text)).rows[0];
  }

  async function assertResponse(client: TestClient, request: FuzzRequest): Promise<void> {
    const before = await traces();
    const response = await client.send(request.method, request.path, {
      headers: request.headers,
      ...(request.body === undefined || request.method === "GET" ? {} : { raw: request.body }),
    });
    await world.settle?.(response, cell.client(tenantId));
    expect(response.status, response.text).toBeLessThan(500);
    if (response.status < 400) {
      known.learn(response.body);
    } else {
      const rejection = { code: expect.stringMatching(/^[A-Z_]+$/), message: expect.any(String), requestId: expect.any(String) };
      expect(response.body, response.text).toMatchObject(rejection);
      expect(await traces(), "audit entries and stored responses").toEqual(before);
    }
  }

  describe(`whatever is sent, the answer is one that the document declares, and a refusal changes nothing (FUZZ_SEED=${seed} FUZZ_RUNS=${runs})`, () => {
    test.each(operations.map(({ name, requests }) => [name, requests] as const))(
      "%s",
      { timeout: 10_000 + runs * 500 },
      async (_, requests) => {
        const property = fc.asyncProperty(fc.nat(3), requests, async (who, make) => {
          const request = make();
          try {
            await assertResponse(callers[who] as TestClient, request);
          } catch (error) {
            const { method, path, headers, body } = request;
            throw new Error(`${method} ${path} ${JSON.stringify(headers)} ${String(body).slice(0, 2_000)}: ${(error as Error).message}`);
          }
        });
        await fc.assert(property, { numRuns: runs, seed, endOnFailure: true });
      },
    );
  });

  test("after all that the audit trail verifies, and the neighbour is as it was", async () => {
    await cell.sealAll(tenantId);
    expect((await cell.client(tenantId).get("/audit-logs/verify")).body).toMatchObject({ ok: true, firstBroken: null });
    expect(await fingerprint(neighbour)).toEqual(neighbourBefore);
    await world.assertUnchanged?.(cell.client(neighbour));
  });
}
