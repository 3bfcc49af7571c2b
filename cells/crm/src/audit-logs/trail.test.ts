import type { TestClient } from "@cell/cell/testing/test-cell";
import { describe, expect, test } from "vitest";
import { type TestTenant, tenantPerTest } from "../testing/tenants.ts";
import { inspect, type TestCrm } from "../testing/test-crm.ts";
import { trailOf } from "../testing/trail.ts";

let given: TestTenant;
let cell: TestCrm;
let tenantId: string;
let admin: TestClient;

tenantPerTest((tenant) => {
  given = tenant;
  ({ cell, tenantId, admin } = tenant);
});
const { create, asSuperuser, verify, seal } = trailOf(() => given);

/** Three seals of three entries each. */
async function threeSeals(): Promise<{ id: string; seq: number; seal: number }[]> {
  for (const letter of ["a", "b", "c"]) {
    for (const index of [1, 2, 3]) await create(`${letter}${index}`);
    await seal();
  }
  const { data } = (await admin.get("/audit-logs")).body;
  return data.reverse();
}

describe("an untouched audit trail", () => {
  test("an untouched audit trail verifies; each entry names its seal", async () => {
    const entries = await threeSeals();
    expect(await verify()).toMatchObject({ ok: true, checked: 9, firstBroken: null });
    expect(entries.map(({ seal }) => seal)).toEqual([1, 1, 1, 2, 2, 2, 3, 3, 3]);
    const { sealedUntil } = await verify();
    expect(Date.now() - Date.parse(sealedUntil)).toBeLessThan(10_000);
  });

  test("an audit trail verifies when it is empty, and before its newest entries are sealed", async () => {
    const empty = { ok: true, checked: 0, sealedUntil: null, firstBroken: null };
    expect(await verify()).toEqual({ ...empty, unsealed: 0, oldestUnsealedAt: null });
    await create("one");
    expect(await verify()).toEqual({ ...empty, unsealed: 1, oldestUnsealedAt: expect.any(String) });
    await seal();
    await create("two");
    expect(await verify()).toMatchObject({ ok: true, checked: 1 });
    const { data } = (await admin.get("/audit-logs")).body;
    expect(data.map((entry: { seal: number | null }) => entry.seal)).toEqual([null, 1]);
  });

  test("an audit trail verifies if entries were written in another order than their transactions ended", async () => {
    const insert = `insert into $tenant.audit_logs (id, occurred_at, actor_id, actor_type, action, resource_type, resource_id, changes, request_id)
      values (gen_random_uuid(), now(), 'u', 'user', 'create', 'customer', 'x', '[]', 'r')`;
    const slow = asSuperuser(`begin; ${insert}; select pg_sleep(0.5); commit`);
    await new Promise((resolve) => setTimeout(resolve, 200));
    await create("fast");
    expect(await cell.sealer.seal(tenantId)).toBe(false);
    const midway = await verify();
    await slow;
    await seal();
    expect(midway).toMatchObject({ ok: true, checked: 0 });
    expect(await verify()).toMatchObject({ ok: true, checked: 2 });
  });

  test("a long audit trail is sealed in parts, and verifies", async () => {
    await asSuperuser(`insert into $tenant.audit_logs (id, occurred_at, actor_id, actor_type, action, resource_type, resource_id, changes, request_id)
      select gen_random_uuid(), now(), 'u', 'user', 'create', 'customer', n::text, '[]', 'r' from generate_series(1, 104001) n`);
    await seal();
    expect(await verify()).toMatchObject({ ok: true, checked: 104_001, firstBroken: null });
    const [seals] = await inspect<{ seals: number }>(tenantId, "select count(*)::int as seals from $tenant.audit_seals");
    expect(seals?.seals).toBe(53);
  });
});

describe("tampering by a superuser is detected", () => {
  test.each([
    ["another actor", "update $tenant.audit_logs set actor_id = 'someone else' where seq = "],
    ["another time, by a microsecond", "update $tenant.audit_logs set occurred_at = occurred_at + interval '1 microsecond' where seq = "],
    ["other changes", "update $tenant.audit_logs set changes = '[]' where seq = "],
    ["white space in the changes", "update $tenant.audit_logs set changes = (changes::text || ' ')::json where seq = "],
    ["a null for an empty text", "update $tenant.audit_logs set ip = '' where seq = "],
    ["another transaction, before the seal", "update $tenant.audit_logs set transaction_id = 1 where seq = "],
    ["another transaction, after the last seal", "update $tenant.audit_logs set transaction_id = 1e15 where seq = "],
  ])("verification detects a changed entry: %s", async (what, update) => {
    const entries = await threeSeals();
    await asSuperuser(`${update}${entries[4]?.seq}`);
    const found = await verify();
    expect(found).toMatchObject({ ok: false });
    // Moved to the front, it is met in the first seal's range.
    const expected = what.includes("before") ? { seal: 1, reason: "inserted" } : { seal: 2, reason: "changed" };
    expect(found.firstBroken).toEqual({ ...expected, entryId: entries[4]?.id, seq: entries[4]?.seq });
    expect(found.checked).toBe(what.includes("before") ? 0 : 3);
  });

  test("verification detects a deleted entry", async () => {
    const entries = await threeSeals();
    await asSuperuser(`delete from $tenant.audit_logs where seq = ${entries[4]?.seq}`);
    expect((await verify()).firstBroken).toEqual({ seal: 2, entryId: null, seq: entries[4]?.seq, reason: "deleted" });
  });

  test("verification detects an entry inserted among old ones", async () => {
    const entries = await threeSeals();
    const [made] = await inspect<{ id: string; seq: string }>(
      tenantId,
      `insert into $tenant.audit_logs (id, transaction_id, occurred_at, actor_id, actor_type, action, resource_type, resource_id, changes, request_id)
       select gen_random_uuid(), transaction_id, occurred_at, actor_id, actor_type, action, resource_type, resource_id, changes, request_id
       from $tenant.audit_logs where seq = ${entries[4]?.seq} returning id, seq`,
    );
    expect((await verify()).firstBroken).toEqual({ seal: 2, entryId: made?.id, seq: Number(made?.seq), reason: "inserted" });
  });

  test.each([
    ["the numbers of two entries of one seal", 3, 4],
    ["the numbers of two entries of two seals", 2, 6],
  ])("verification detects swapped entries: %s", async (_, a, b) => {
    const entries = await threeSeals();
    const [first, second] = [entries[a], entries[b]];
    const renumber = (from: number | undefined, to: number | undefined) => `update $tenant.audit_logs set seq = ${to} where seq = ${from};`;
    await asSuperuser(`alter table $tenant.audit_logs alter seq set generated by default;
      ${renumber(first?.seq, -1)} ${renumber(second?.seq, first?.seq)} ${renumber(-1, second?.seq)}`);
    const { firstBroken } = await verify();
    expect(firstBroken).toMatchObject({ seal: a < 3 ? 1 : 2, reason: "reordered" });
    expect([first?.id, second?.id]).toContain(firstBroken.entryId);
  });

  test("verification detects two entries with swapped contents", async () => {
    const entries = await threeSeals();
    await asSuperuser(`with pair as (select a.seq as a, b.* from $tenant.audit_logs a, $tenant.audit_logs b
        where (a.seq, b.seq) in ((${entries[3]?.seq}, ${entries[5]?.seq}), (${entries[5]?.seq}, ${entries[3]?.seq})))
      update $tenant.audit_logs t set occurred_at = pair.occurred_at, resource_id = pair.resource_id, resource_name = pair.resource_name,
        changes = pair.changes, request_id = pair.request_id from pair where t.seq = pair.a`);
    expect((await verify()).firstBroken).toMatchObject({ seal: 2, entryId: entries[3]?.id, reason: "changed" });
  });

  test("verification detects a removed tail with its seals", async () => {
    const entries = await threeSeals();
    await asSuperuser(`delete from $tenant.audit_logs where seq >= ${entries[6]?.seq}; delete from $tenant.audit_seals where seal = 3`);
    expect(await verify()).toMatchObject({
      ok: false,
      checked: 6,
      firstBroken: { seal: 3, entryId: null, seq: null, reason: "tail_removed" },
    });
    await create("goes on");
    await expect(seal()).rejects.toThrow("seal 3 has been removed");
    expect((await verify()).firstBroken.reason).toBe("tail_removed");
  });

  test("verification detects that everything was removed", async () => {
    await threeSeals();
    await asSuperuser("truncate $tenant.audit_logs, $tenant.audit_seals");
    expect((await verify()).firstBroken).toEqual({ seal: 1, entryId: null, seq: null, reason: "tail_removed" });
  });

  test.each([
    ["its hashes", "update $tenant.audit_seals set hashes = overlay(hashes placing '\\x00'::bytea from 1) where seal = 2", "seal_changed"],
    ["its time", "update $tenant.audit_seals set sealed_at = sealed_at - interval '1 day' where seal = 2", "seal_changed"],
    ["its range", "update $tenant.audit_seals set to_transaction = to_transaction + 1 where seal = 2", "seal_changed"],
    [
      "its signature",
      "update $tenant.audit_seals set signature = overlay(signature placing '\\x0000'::bytea from 1) where seal = 2",
      "signature",
    ],
    ["its key", "update $tenant.audit_seals set key_id = 'nobody' where seal = 2", "seal_changed"],
  ])("verification detects a changed seal: %s", async (_, sql, reason) => {
    await threeSeals();
    await asSuperuser(sql);
    expect(await verify()).toMatchObject({ ok: false, checked: 3, firstBroken: { seal: 2, reason } });
  });

  test("verification detects a deleted seal, the first, an inner or the last", async () => {
    await threeSeals();
    await asSuperuser("create table $tenant.kept as select * from $tenant.audit_seals");
    for (const [number, reason] of [
      [1, "seal_missing"],
      [2, "seal_missing"],
      [3, "tail_removed"],
    ]) {
      await asSuperuser(`delete from $tenant.audit_seals where seal = ${number}`);
      expect((await verify()).firstBroken).toEqual({ seal: number, entryId: null, seq: null, reason });
      await asSuperuser(`insert into $tenant.audit_seals select * from $tenant.kept where seal = ${number}`);
    }
    expect((await verify()).ok).toBe(true);
  });
});
