import type { TestCell, TestClient } from "@cell/cell/testing/test-cell";
import type { TenantTx } from "@cell/postgres";
import { describe, expect, type MockInstance, test, vi } from "vitest";
import { customerImport } from "../customers/imports/importer.ts";
import { importCsv } from "../testing/requests.ts";
import { tenantPerTest } from "../testing/tenants.ts";
import { inspect } from "../testing/test-crm.ts";
import { applyNext, batchSize, type Step } from "./apply.ts";
import type { Importer } from "./importer.ts";
import * as imports from "./repository.ts";

let cell: TestCell;
let tenantId: string;
let admin: TestClient;

tenantPerTest((given) => {
  ({ cell, tenantId, admin } = given);
});

/** An import of customers that is staged and not carried out, every hundredth row of which fails; its id. */
async function staged(count: number): Promise<string> {
  const rows = Array.from({ length: count }, (_, index) => `Row ${index},${index % 100 === 7 ? "?" : ""}\n`).join("");
  const raw = `name,contactPhone\n${rows}`;
  const { body } = await importCsv(admin, "/customers/import?async=true&dryRun=true", raw);
  await expect.poll(async () => (await admin.get(`/imports/${body.importId}`)).body.status, { timeout: 20_000 }).toBe("completed");
  await inspect(tenantId, "update $tenant.imports set status = 'queued', done = 0, created = 0, failed = 0");
  return body.importId;
}

/** Applies rows of a staged import in a transaction that is rolled back. Rejects as `applyNext` does. */
async function apply(importId: string, importer: Importer, size: { batches: number; rowsAtOnce: number }, spied?: (tx: TenantTx) => void) {
  const tenant = await cell.registry.tenant(tenantId);
  return tenant.write(async (session): Promise<Step> => {
    await session.begin();
    const job = await imports.lock(session.tx, importId);
    if (!job) throw new Error("no such import");
    spied?.(session.tx);
    return applyNext(session.tx, importer, job, 0, new Date().toISOString(), { ...size, write: true });
  });
}

describe("the rows of an import", () => {
  test("take one look-up a batch and one write and one record of the trail for as many rows as are written at once", async () => {
    const importId = await staged(2_100);
    const spies: Partial<Record<"query" | "first" | "run" | "insertAll" | "record", MockInstance>> = {};
    const step = await apply(importId, customerImport, { ...batchSize.alone, batches: Number.POSITIVE_INFINITY }, (tx) => {
      for (const name of ["query", "first", "run", "insertAll", "record"] as const) spies[name] = vi.spyOn(tx, name);
    });
    expect(step).toMatchObject({ done: 2_100, counts: { created: 2_079, failed: 21 } });
    const callsOf = (name: keyof typeof spies) => spies[name]?.mock.calls ?? [];
    expect({ reads: callsOf("query").length + callsOf("first").length, others: callsOf("run").length }).toEqual({ reads: 6, others: 0 });
    const chunks = [...Array(7).fill(125), 115, ...Array(7).fill(125), 115, 99];
    expect(callsOf("insertAll").map(([{ values }]) => values.length)).toEqual(chunks);
    expect(callsOf("record").map(([entries]) => entries.length)).toEqual(chunks);
  });

  test("are planned while those before are written: two writes are under way at most", async () => {
    const importId = await staged(1_000);
    const underWay = { now: 0, most: 0 };
    const customers: Importer = customerImport;
    const importer: Importer = {
      ...customers,
      async write(...given) {
        underWay.now++;
        underWay.most = Math.max(underWay.most, underWay.now);
        const missed = await customers.write(...given);
        underWay.now--;
        return missed;
      },
    };
    expect(await apply(importId, importer, batchSize.besideOthers)).toMatchObject({ done: 1_000 });
    expect(underWay).toEqual({ now: 0, most: 2 });
  });
});
