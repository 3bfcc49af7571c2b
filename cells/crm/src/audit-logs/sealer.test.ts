import { generateKeyPairSync } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { parsePublicKeys, parseSealKey, Sealer, SealLog, sealKeysOf, verifyTrail } from "@cell/cell";
import type { TestClient } from "@cell/cell/testing/test-cell";
import { createLogger } from "@cell/http";
import { schemaOf } from "@cell/postgres";
import pg from "pg";
import { afterAll, beforeAll, beforeEach, describe, expect, inject, test } from "vitest";
import { inspect, isFinished, sealPublicKey, startCrm, type TestCrm } from "../testing/test-crm.ts";

const folder = mkdtempSync(join(tmpdir(), "cell-crm-seals-"));
const sealLog = join(folder, "seals.jsonl");
let cell: TestCrm;
let tenantId: string;
let admin: TestClient;

beforeAll(async () => {
  cell = await startCrm({ sealLog });
});
beforeEach(async () => {
  tenantId = await cell.tenant();
  admin = cell.client(tenantId);
});
afterAll(async () => {
  await cell.stop();
  rmSync(folder, { recursive: true });
});

const create = (name: string) => admin.post("/customers", { body: { name } });
const seals = (): Promise<{ seal: number; root: Buffer; signature: Buffer; key_id: string }[]> =>
  inspect(tenantId, "select * from $tenant.audit_seals order by seal");
const lines = () =>
  readFileSync(sealLog, "utf8")
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line))
    .filter((line) => line.tenantId === tenantId);
const until = async (reached: () => Promise<boolean>) => {
  for (let waited = 0; !(await reached()); waited += 50) {
    if (waited > 10_000) throw new Error("it did not come to pass");
    await sleep(50);
  }
};

describe("the sealer", () => {
  test("the sealer seals new entries every second, and the rest when it stops", async () => {
    await create("one");
    cell.sealer.start();
    await until(async () => (await seals()).length > 0);
    await create("two");
    await until(() => isFinished(tenantId));
    await cell.sealer.stop();
    expect((await admin.get("/audit-logs/verify")).body).toMatchObject({ ok: true, checked: 2 });
  });

  test("the sealer finds entries of a process that died before sealing", async () => {
    await create("one");
    const restarted = await startCrm({ sealLog });
    restarted.sealer.start();
    await until(async () => (await seals()).length > 0);
    await restarted.sealer.stop();
    await restarted.stop();
  });

  test("two concurrent sealers make one chain", async () => {
    const other = await startCrm({ sealLog });
    for (let round = 0; round < 5; round++) {
      await create(`customer ${round}`);
      await Promise.all([cell.sealer.seal(tenantId), other.sealer.seal(tenantId), cell.sealer.seal(tenantId)]);
    }
    await cell.sealAll(tenantId);
    expect((await admin.get("/audit-logs/verify")).body).toMatchObject({ ok: true, checked: 5 });
    await other.stop();
  });

  test("the sealer writes each seal to the file as one line", async () => {
    await create("one");
    await cell.sealAll(tenantId);
    const [seal] = await seals();
    expect(lines()).toEqual([
      {
        tenantId,
        seal: 1,
        entries: 1,
        root: seal?.root.toString("hex"),
        keyId: seal?.key_id,
        signature: seal?.signature.toString("hex"),
        sealedAt: expect.stringMatching(/Z$/),
      },
    ]);
  });

  test("after a restart the seal file reveals a removed tail", async () => {
    for (const name of ["one", "two"]) {
      await create(name);
      await cell.sealAll(tenantId);
    }
    await inspect(tenantId, "delete from $tenant.audit_seals where seal = 2");
    await inspect(tenantId, "delete from $tenant.audit_logs where resource_name = 'two'");
    const restarted = await startCrm({ sealLog });
    const { body } = await restarted.client(tenantId).get("/audit-logs/verify");
    expect(body).toMatchObject({ ok: false, checked: 1, firstBroken: { seal: 2, reason: "tail_removed" } });
    await restarted.stop();
  });

  test("hands out later what a crash kept from the file, and reads past a line that it cut off", async () => {
    await create("one");
    await cell.sealAll(tenantId);
    const cut = join(folder, "cut.jsonl");
    writeFileSync(cut, `{"tenantId":"${tenantId}","seal":1,"ro`);
    const restarted = await startCrm({ sealLog: cut });
    await restarted.sealer.seal(tenantId);
    expect(readFileSync(cut, "utf8")).toContain(JSON.stringify(lines()[0]));
    await restarted.stop();
  });

  describe("of a tenant that is dropped", () => {
    const provision = (method: "PUT" | "DELETE") => {
      const operator = cell.client(tenantId, { userId: "operator", actorType: "operator", permissions: ["cell:admin"] });
      return fetch(`${cell.url}/internal/tenants/${tenantId}`, { method, headers: operator.headers() });
    };
    const dropped = async () => {
      for (const name of ["one", "two"]) {
        await create(name);
        await cell.sealAll(tenantId);
      }
      expect(await (await provision("DELETE")).json()).toEqual({ tenantId, dropped: true });
    };
    const sealedAgain = async (by: TestCrm) => {
      await create("anew");
      await until(() => by.sealer.seal(tenantId));
      return (await by.client(tenantId).get("/audit-logs/verify")).body;
    };

    test("says so, once, and begins anew with what its id is used for next; so does who reads the file, now or later", async () => {
      const other = await startCrm({ sealLog });
      await create("known to the other, too");
      await cell.sealAll(tenantId);
      expect((await other.client(tenantId).get("/audit-logs/verify")).body).toMatchObject({ ok: true, checked: 1 });
      await dropped();
      expect(await (await provision("DELETE")).json()).toEqual({ tenantId, dropped: false });
      const ends = lines().filter((line) => "last" in line);
      expect(ends).toMatchObject([{ tenantId, last: { seal: 3, root: lines()[2].root }, keyId: lines()[2].keyId }]);
      expect((await provision("PUT")).status).toBe(201);
      await other.registry.refresh(tenantId);
      expect(await sealedAgain(other)).toMatchObject({ ok: true, checked: 1 });
      expect((await admin.get("/audit-logs/verify")).body).toMatchObject({ ok: true, checked: 1 });
      await other.stop();
      const restarted = await startCrm({ sealLog });
      expect((await restarted.client(tenantId).get("/audit-logs/verify")).body).toMatchObject({ ok: true, checked: 1 });
      await restarted.stop();
    });

    test("is not believed to be dropped by a line that is not signed, or was written for an earlier trail", async () => {
      await dropped();
      const [end] = lines().filter((line) => "last" in line);
      await provision("PUT");
      await sealedAgain(cell);
      await create("removed");
      await cell.sealAll(tenantId);
      const { seal, root } = lines().at(-1);
      await inspect(tenantId, "delete from $tenant.audit_seals where seal = 2");
      await inspect(tenantId, "delete from $tenant.audit_logs where resource_name = 'removed'");
      for (const forged of [end, { ...end, last: { seal, root } }]) {
        const file = join(folder, "forged.jsonl");
        writeFileSync(file, `${readFileSync(sealLog, "utf8")}${JSON.stringify(forged)}\n`);
        const restarted = await startCrm({ sealLog: file });
        const { body } = await restarted.client(tenantId).get("/audit-logs/verify");
        expect(body).toMatchObject({ ok: false, checked: 1, firstBroken: { seal: 2, reason: "tail_removed" } });
        await restarted.stop();
      }
    });
  });

  /** Entries from here on are written as on a database server whose transactions have come further. */
  async function countHigher(): Promise<void> {
    const [ahead] = await inspect<{ transaction: string }>(
      tenantId,
      "select (pg_current_xact_id()::text::bigint + 1000000)::text as transaction",
    );
    await inspect(tenantId, `alter table $tenant.audit_logs alter transaction_id set default ${ahead?.transaction}`);
  }

  test("the sealer continues a trail copied from a database server with higher transaction ids", async () => {
    await countHigher();
    await create("elsewhere");
    for (const [name, checked] of [
      ["here", 2],
      ["here again", 3],
    ] as const) {
      await cell.sealer.adopt(tenantId);
      await create(name);
      await until(() => cell.sealer.seal(tenantId));
      expect((await admin.get("/audit-logs/verify")).body).toMatchObject({ ok: true, checked });
    }
    const { data } = (await admin.get("/audit-logs")).body;
    expect(data.map((entry: { seal: number }) => entry.seal)).toEqual([4, 2, 1]);
  });

  test("right after an adoption the sealer waits for older running transactions", async () => {
    const older = new pg.Client({ connectionString: inject("databaseUrl") });
    await older.connect();
    try {
      await countHigher();
      await create("before");
      await older.query("begin");
      await older.query("select pg_current_xact_id()");
      await cell.sealer.adopt(tenantId);
      await create("after");
      expect(await cell.sealer.seal(tenantId)).toBe(false);
    } finally {
      await older.end();
    }
    await until(() => cell.sealer.seal(tenantId));
    expect((await admin.get("/audit-logs/verify")).body).toMatchObject({ ok: true, checked: 2 });
  });

  test("the sealer continues with a new key if the earlier public key is configured", async () => {
    await create("one");
    await cell.sealAll(tenantId);
    const pair = generateKeyPairSync("ed25519");
    const pem = pair.privateKey.export({ type: "pkcs8", format: "pem" }).toString();
    const log = createLogger("test", "silent");
    const rotated = (earlier: string) => {
      const keys = sealKeysOf(parseSealKey(pem), parsePublicKeys(earlier));
      const sealLog = new SealLog(keys.publicKeys, undefined, log);
      return { sealLog, sealer: new Sealer({ registry: cell.registry, keys, sealLog, log }) };
    };
    await create("two");
    await expect(rotated("").sealer.seal(tenantId)).rejects.toThrow("not signed by a known key");
    const { sealer, sealLog } = rotated(sealPublicKey);
    await until(() => sealer.seal(tenantId));
    const reader = (await cell.registry.tenant(tenantId)).reader();
    expect(await verifyTrail(reader, sealLog)).toMatchObject({ ok: true, checked: 2 });
    expect((await admin.get("/audit-logs/verify")).body).toMatchObject({
      ok: false,
      checked: 1,
      firstBroken: { seal: 2, reason: "signature" },
    });
  });

  describe("that cannot seal", () => {
    const keysOf = (earlier: string) => {
      const { privateKey } = generateKeyPairSync("ed25519");
      return sealKeysOf(privateKey, parsePublicKeys(earlier));
    };
    interface ReadyBody {
      status: string;
      degraded?: boolean;
      checks: Record<string, unknown>;
      problems: string[];
    }
    const ready = async ({ url }: TestCrm) => {
      const response = await fetch(`${url}/ready`);
      return { status: response.status, body: (await response.json()) as ReadyBody };
    };
    const metric = async (crm: TestCrm, name: string) => {
      const text = await crm.metrics();
      return Number(new RegExp(`^${name} (\\S+)$`, "m").exec(text)?.[1]);
    };

    test("after a change of the key without the earlier public one says so in /ready, which stays 200, and in metrics; with it, it seals on", async () => {
      await create("one");
      await cell.sealAll(tenantId);
      const [without, complete] = [await startCrm({ sealKeys: keysOf("") }), await startCrm({ sealKeys: keysOf(sealPublicKey) })];
      try {
        expect(await ready(without)).toEqual({ status: 200, body: { status: "ready", checks: { database: "ok", draining: false } } });
        expect(await metric(without, "cell_audit_last_seal_timestamp_seconds")).toBe(0);
        await without.client(tenantId).post("/customers", { body: { name: "two" } });
        await expect(without.sealer.seal(tenantId)).rejects.toThrow("not signed by a known key");
        const { status, body } = await ready(without);
        expect([status, body.status, body.degraded, body.checks.sealing]).toEqual([200, "ready", true, "failing"]);
        expect(body.problems).toEqual(["The audit trails of 1 tenant cannot be sealed: seal 1 is not signed by a known key."]);
        expect(JSON.stringify(body)).not.toContain(tenantId);
        expect(await metric(without, "cell_audit_faulty_tenants")).toBe(1);

        await until(() => complete.sealer.seal(tenantId));
        expect(await metric(complete, "cell_audit_last_seal_timestamp_seconds")).toBeGreaterThan(1_700_000_000);
        expect(await metric(complete, "cell_audit_faulty_tenants")).toBe(0);
        expect((await ready(complete)).body).not.toHaveProperty("degraded");
        expect((await complete.client(tenantId).get("/audit-logs/verify")).body).toMatchObject({ ok: true, checked: 2, unsealed: 0 });
      } finally {
        await without.stop();
        await complete.stop();
      }
    });

    test("an entry of a transaction of the future reports it, and seals what is written besides", async () => {
      await create("one");
      await create("two");
      await inspect(
        tenantId,
        "update $tenant.audit_logs set transaction_id = 9000000000000000000, occurred_at = now() - interval '2 minutes' where resource_name = 'one'",
      );
      expect(await cell.sealer.seal(tenantId)).toBe(false);
      await create("three");
      // Transactions of other tests on the same server hold some of it up.
      await until(async () => {
        expect(await cell.sealer.seal(tenantId)).toBe(false);
        return (await admin.get("/audit-logs/verify")).body.checked === 2;
      });
      expect((await ready(cell)).body).toMatchObject({ degraded: true, checks: { sealing: "failing" } });
      expect((await ready(cell)).body.problems.join(" ")).toMatch(
        /a transaction of the future.* have been waiting for their seals for \d+ seconds/,
      );
      expect(await metric(cell, "cell_audit_seal_lag_seconds")).toBeGreaterThanOrEqual(120);
      expect((await admin.get("/audit-logs/verify")).body).toMatchObject({
        ok: false,
        checked: 2,
        unsealed: 1,
        firstBroken: { reason: "unsealed" },
      });
      await inspect(tenantId, "delete from $tenant.audit_logs where resource_name = 'one'");
      await until(() => cell.sealer.seal(tenantId));
      expect((await ready(cell)).body).not.toHaveProperty("degraded");
    });

    test("one tenant's trail, whose table is gone, seals those of the others", async () => {
      const broken = await cell.tenant();
      await cell.client(broken).post("/customers", { body: { name: "broken" } });
      await inspect(broken, "alter table $tenant.audit_logs rename to away");
      await create("one");
      const restarted = await startCrm({ sealLog });
      try {
        restarted.sealer.start();
        await until(async () => (await seals()).length > 0);
      } finally {
        await inspect(broken, "alter table $tenant.away rename to audit_logs");
        await restarted.sealer.stop();
        await restarted.stop();
      }
    });
  });

  test("the sealer does not build on a seal that it did not sign", async () => {
    await create("one");
    await cell.sealAll(tenantId);
    await inspect(tenantId, "update $tenant.audit_seals set signature = '\\x00'");
    await create("two");
    await expect(cell.sealer.seal(tenantId)).rejects.toThrow("not signed by a known key");
  });

  test("the sealer and writers do not block each other", async () => {
    const client = new pg.Client({ connectionString: inject("databaseUrl") });
    await client.connect();
    // As long as a seal could ever take.
    await client.query("begin");
    await client.query("select pg_advisory_xact_lock(hashtextextended($1, 0))", [`seal "${schemaOf(tenantId)}"`]);
    await client.query(`declare entries cursor for select * from "${schemaOf(tenantId)}".audit_logs order by transaction_id, seq`);
    await client.query("fetch 1 from entries");
    await client.query(`insert into "${schemaOf(tenantId)}".audit_seals (seal, from_transaction, from_seq, to_transaction, to_seq, transaction_offset, seqs,
      hashes, previous_root, root, key_id, signature, sealed_at) values (99, 0, 0, 0, 0, 0, '{}', '', '', '', '', '', now())`);
    const startedMs = performance.now();
    const responses = await Promise.all(Array.from({ length: 50 }, (_, index) => create(`customer ${index}`)));
    expect(responses.every((response) => response.status === 201)).toBe(true);
    expect(performance.now() - startedMs).toBeLessThan(2_000);
    expect(await cell.sealer.seal(tenantId)).toBe(false);
    await client.query("rollback");
    await client.end();
    await cell.sealAll(tenantId);
    expect((await admin.get("/audit-logs/verify")).body).toMatchObject({ ok: true, checked: 50 });
  });

  test("the sealer's metrics show its lag and failures", async () => {
    await create("one");
    await sleep(20);
    expect(await cell.metrics()).toMatch(/^cell_audit_seal_lag_seconds 0\.0[1-9]|^cell_audit_seal_lag_seconds (0\.[1-9]|[1-9])/m);
    expect(await cell.metrics()).toMatch(/^cell_audit_seal_failures_total \d+$/m);
  });

  test("the trail verifies during writes and sealing", async () => {
    let writing = true;
    const writers = Array.from({ length: 4 }, async (_, writer) => {
      for (let index = 0; writing; index++) await create(`customer ${writer} ${index}`);
    });
    for (let round = 0; round < 20; round++) {
      await cell.sealer.seal(tenantId);
      const { body } = await admin.get("/audit-logs/verify");
      expect(body.ok, JSON.stringify(body)).toBe(true);
    }
    writing = false;
    await Promise.all(writers);
  });
});
