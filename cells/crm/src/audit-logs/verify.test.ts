import { hash } from "node:crypto";
import { request } from "node:http";
import { setImmediate, setTimeout as sleep } from "node:timers/promises";
import { verifyTrail } from "@cell/cell";
import { TrailReader } from "@cell/cell/audit/trail-reader";
import type { TestClient } from "@cell/cell/testing/test-cell";
import { schemaOf } from "@cell/postgres";
import fc from "fast-check";
import pg from "pg";
import { describe, expect, inject, test } from "vitest";
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
const { create, asSuperuser, verify } = trailOf(() => given);

const fill = (entries: number) =>
  asSuperuser(`insert into $tenant.audit_logs (id, occurred_at, actor_id, actor_type, action, resource_type, resource_id, changes, request_id)
    select gen_random_uuid(), now(), 'u', 'user', 'create', 'customer', n::text,
      json_build_array(json_build_object('field', 'name', 'before', null, 'after', 'Customer ' || n)), 'r' from generate_series(1, ${entries}) n`);

describe("verification detects a replaced or altered table of the trail", () => {
  const policy = "create policy hide on $tenant.audit_logs using (resource_name <> 'one')";
  const view = (table: string) =>
    `alter table $tenant.${table} rename to ${table}_hidden; create view $tenant.${table} as select * from $tenant.${table}_hidden`;
  const forward = "create function $tenant.forward() returns trigger language plpgsql as $$ begin return new; end $$";
  test.each([
    ["a row security policy", `alter table $tenant.audit_logs enable row level security; ${policy}`, "row_security_added"],
    ["row security without a policy", "alter table $tenant.audit_seals enable row level security", "row_security_added"],
    ["a policy that is not in force yet", policy, "row_security_added"],
    ["a rule", "create rule lose as on insert to $tenant.audit_logs where new.actor_id = 'x' do instead nothing", "rule_added"],
    [
      "a trigger",
      `${forward}; create trigger forward before insert on $tenant.audit_logs for each row execute function $tenant.forward()`,
      "trigger_added",
    ],
    [
      "a trigger on the seals",
      `${forward}; create trigger forward before insert on $tenant.audit_seals for each row execute function $tenant.forward()`,
      "trigger_added",
    ],
    ["a view in the place of the entries", view("audit_logs"), "table_replaced"],
    ["a view in the place of the seals", view("audit_seals"), "table_replaced"],
    ["no entries at all", "drop table $tenant.audit_logs", "table_replaced"],
    ["a table that inherits from it", "create table $tenant.more () inherits ($tenant.audit_logs)", "table_replaced"],
    ["a table that a crash empties", "alter table $tenant.audit_logs set unlogged", "table_replaced"],
    [
      "a default that keeps entries from their seals",
      "alter table $tenant.audit_logs alter transaction_id set default 9000000000000000000",
      "default_changed",
    ],
    [
      "another count of transactions",
      "alter table $tenant.audit_logs alter transaction_id set default (pg_current_xact_id()::text::bigint + 5)",
      "default_changed",
    ],
    ["no default", "alter table $tenant.audit_logs alter transaction_id drop default", "default_changed"],
    ["a default where there was none", "alter table $tenant.audit_logs alter ip set default 'x'", "default_changed"],
    ["a default of the seals", "alter table $tenant.audit_seals alter key_id set default 'x'", "default_changed"],
  ])("%s", async (_, attack, reason) => {
    await create("one");
    await cell.sealAll(tenantId);
    expect((await verify()).ok).toBe(true);
    await asSuperuser(attack);
    expect(await verify()).toMatchObject({ ok: false, firstBroken: { seal: null, entryId: null, seq: null, reason } });
  });
});

describe("entries that are not sealed", () => {
  test("verification counts unsealed entries, with the time of the oldest", async () => {
    await create("sealed");
    await cell.sealAll(tenantId);
    await create("one");
    await create("two");
    const { data } = (await admin.get("/audit-logs")).body;
    expect(await verify()).toMatchObject({ ok: true, checked: 1, unsealed: 2, oldestUnsealedAt: data[1].occurredAt });
    await cell.sealAll(tenantId);
    expect(await verify()).toMatchObject({ ok: true, checked: 3, unsealed: 0, oldestUnsealedAt: null });
  });

  test("entries unsealed for more than a minute are a fault, which names the oldest", async () => {
    await create("sealed");
    await cell.sealAll(tenantId);
    await create("one");
    await create("two");
    await asSuperuser("update $tenant.audit_logs set occurred_at = now() - interval '61 seconds' where resource_name = 'one'");
    const { data } = (await admin.get("/audit-logs")).body;
    const { id: entryId, seq } = data[1];
    expect(await verify()).toMatchObject({
      ok: false,
      checked: 1,
      unsealed: 2,
      firstBroken: { seal: 2, entryId, seq, reason: "unsealed" },
    });
    await cell.sealAll(tenantId);
    expect((await verify()).ok).toBe(true);
  });

  test.each([
    ["a transaction of the future", "transaction_id = 9000000000000000000"],
    ["a time that is yet to come", "occurred_at = now() + interval '1 year'"],
    ["a time without end", "occurred_at = 'infinity'"],
  ])("unsealed entries that claim %s are an immediate fault", async (_, claim) => {
    await create("one");
    await asSuperuser(`update $tenant.audit_logs set ${claim}`);
    expect(await verify()).toMatchObject({ ok: false, unsealed: 1, firstBroken: { seal: 1, reason: "unsealed" } });
  });

  test("entries left unsealed by a changed default are reported once it is restored, and edits of them too", async () => {
    await create("sealed");
    await cell.sealAll(tenantId);
    await asSuperuser("alter table $tenant.audit_logs alter transaction_id set default 9000000000000000000");
    await create("kept unsealed");
    await asSuperuser("alter table $tenant.audit_logs alter transaction_id set default (pg_current_xact_id()::text::bigint)");
    await asSuperuser("update $tenant.audit_logs set resource_name = 'edited' where resource_name = 'kept unsealed'");
    await create("sealed later");
    const seal = async () => {
      expect(await cell.sealer.seal(tenantId)).toBe(false);
      return (await verify()).checked;
    };
    // Transactions of other tests on the same server hold some of it up.
    await expect.poll(seal, { timeout: 20_000 }).toBe(2);
    const { data } = (await admin.get("/audit-logs")).body;
    expect(await verify()).toMatchObject({ ok: false, checked: 2, unsealed: 1, firstBroken: { entryId: data[1].id, reason: "unsealed" } });
  });
});

test("an entry's text in PostgreSQL is the one that JSON.stringify makes, so that its leaf is the same in every version of the program", async () => {
  const text = fc.string({ unit: "grapheme", maxLength: 40 }).map((value) => value.replaceAll("\u0000", ""));
  const client = new pg.Client({ connectionString: inject("databaseUrl") });
  await client.connect();
  try {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.option(text), { minLength: 1, maxLength: 16 }), async (values) => {
        const { rows } = await client.query<{ json: string }>("select array_to_json($1::text[])::text as json", [values]);
        expect(rows[0]?.json).toBe(JSON.stringify(values));
      }),
      { numRuns: 300 },
    );
    const controls = Array.from({ length: 0x2100 }, (_, code) =>
      code === 0 || (code >= 0xd800 && code < 0xe000) ? "" : String.fromCharCode(code),
    ).join("");
    const { rows } = await client.query<{ json: string }>("select array_to_json(array[$1::text])::text as json", [controls]);
    expect(rows[0]?.json).toBe(JSON.stringify([controls]));
  } finally {
    await client.end();
  }
});

describe("a long trail", () => {
  test("verifying a long trail costs this process little more than its hashes, and the database one statement at a time without an open transaction", async () => {
    await fill(30_000);
    await cell.sealAll(tenantId);
    const texts = (await inspect<{ text: string }>(tenantId, "select row_to_json(a)::text as text from $tenant.audit_logs a")).map(
      ({ text }) => text,
    );
    let checked = false;
    const backends: { state: string }[][] = [];
    const watch = (async () => {
      while (!checked)
        backends.push(await inspect(tenantId, "select state from pg_stat_activity where usename = $1", [schemaOf(tenantId)]));
    })();
    await verify();
    checked = true;
    await watch;
    expect(backends.flat().filter(({ state }) => state.startsWith("idle in transaction"))).toEqual([]);
    expect(Math.max(...backends.map((found) => found.filter(({ state }) => state === "active").length))).toBeLessThanOrEqual(1);

    const cpuOf = async (work: () => unknown) => {
      const before = process.cpuUsage();
      await work();
      const { user, system } = process.cpuUsage(before);
      return user + system;
    };
    const verified = await cpuOf(verify);
    const hashed = await cpuOf(() => {
      for (const text of texts) hash("sha256", text, "binary");
    });
    expect(verified).toBeLessThan(8 * hashed);
  });

  test("a long trail with entries of a megabyte is read in small steps", async () => {
    await asSuperuser(`insert into $tenant.audit_logs (id, occurred_at, actor_id, actor_type, action, resource_type, resource_id, changes, request_id)
      select gen_random_uuid(), now(), 'u', 'user', 'create', 'customer', n::text,
        (select to_json(string_agg(md5((n * 100000 + i)::text), '')) from generate_series(1, 32768) i), 'r' from generate_series(1, 12) n`);
    await cell.sealAll(tenantId);
    const reader = new TrailReader((await cell.registry.tenant(tenantId)).reader());
    const read = await reader.entries({ transaction: "0", seq: "0" }, { transaction: "9000000000000000000", seq: "0" });
    expect(read.length).toBe(1);
    expect(await verify()).toMatchObject({ ok: true, checked: 12 });
  });

  test("verifying a trail with one seal per entry yields between its seals", async () => {
    for (let index = 0; index < 40; index++) {
      await create(`customer ${index}`);
      await cell.sealAll(tenantId);
    }
    let turns = 0;
    let done = false;
    const count = (async () => {
      for (; !done; turns++) await setImmediate();
    })();
    expect(await verify()).toMatchObject({ ok: true, checked: 40 });
    done = true;
    await count;
    expect(turns).toBeGreaterThan(20);
  });

  test("concurrent verifications of a trail share one run", async () => {
    const { reader } = { reader: (await cell.registry.tenant(tenantId)).reader() };
    const witness = { publicKeys: new Map(), head: async () => undefined };
    const run = verifyTrail(reader, witness);
    expect(verifyTrail(reader, witness)).toBe(run);
    await run;
    const later = verifyTrail(reader, witness);
    expect(later).not.toBe(run);
    await later;
  });

  test("a long verification responds with a head and white space first, and completely in the end", async () => {
    await create("one");
    await cell.sealAll(tenantId);
    const client = new pg.Client({ connectionString: inject("databaseUrl") });
    await client.connect();
    try {
      await client.query("begin");
      await client.query(`lock table "${schemaOf(tenantId)}".audit_logs in access exclusive mode`);
      const received = await new Promise<{ status: number | undefined; text: Promise<string> }>((resolve, reject) => {
        const sent = request(`${cell.url}/audit-logs/verify`, { headers: admin.headers() }, (response) => {
          const text = (async () => {
            const pieces: Buffer[] = [];
            for await (const piece of response) pieces.push(piece as Buffer);
            return Buffer.concat(pieces).toString();
          })();
          resolve({ status: response.statusCode, text });
        });
        sent.on("error", reject);
        sent.end();
      });
      expect(received.status).toBe(200);
      await client.query("rollback");
      const text = await received.text;
      expect(text).toMatch(/^ +\{/);
      expect(JSON.parse(text)).toMatchObject({ ok: true, checked: 1 });
    } finally {
      await client.end();
    }
    await sleep(0);
  });
});
