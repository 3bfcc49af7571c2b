import { afterAll, afterEach, beforeAll, expect, inject, test } from "vitest";
import { isTimeout } from "../problems.ts";
import { TenantPool } from "./tenant-pool.ts";
import "../testing/global-setup.ts";
import { TcpProxy } from "../testing/proxy.ts";

let proxy: TcpProxy;
let connections: TenantPool;

beforeAll(async () => {
  const url = new URL(inject("databaseUrl"));
  proxy = await TcpProxy.open({ targetPort: Number(url.port) });
  connections = new TenantPool({
    ...{ url: proxy.through(url.href), applicationName: "connections", preparedStatements: 10 },
    ...{ total: 4, perTenant: 4, readersPerTenant: 1, sharedReaders: 1, tenantsPerConnection: 10 },
    ...{ waitMs: 1_000, idleMs: 30_000, maxAgeMs: 600_000, statementTimeoutMs: 500, lockTimeoutMs: 500 },
  });
});
afterEach(() => {
  if (proxy.swallowing) proxy.cut();
  proxy.mend();
});
afterAll(async () => {
  await connections.close();
  await proxy.close();
});

function read(text: string) {
  const { username, password } = new URL(inject("databaseUrl"));
  const user = decodeURIComponent(username);
  const access = { login: { user, password: decodeURIComponent(password) }, role: user, slot: 0 };
  return connections.read(access, { text, values: [], queryMode: "extended" });
}

test("a reader that stalls is dropped, however many queries were ahead of the waiting ones", { timeout: 8_000 }, async () => {
  await read("select 1");
  // Each may take 500 ms, so that the last one could begin after 10 s.
  const quick = Array.from({ length: 20 }, () => read("select 1"));
  const behind = Array.from({ length: 3 }, () => read("select pg_sleep(0.3)").catch((error: unknown) => error));
  await Promise.all(quick);
  proxy.swallow();
  expect((await Promise.all(behind)).map(isTimeout)).toEqual([true, true, true]);
  proxy.cut();
  proxy.mend();
  expect((await read("select 1")).length).toBe(1);
});

test("a reader with several slow queries in a row does not count as stalled", { timeout: 20_000 }, async () => {
  const slow = Array.from({ length: 6 }, () => read("select pg_sleep(0.4)"));
  expect((await Promise.all(slow)).map(({ length }) => length)).toEqual([1, 1, 1, 1, 1, 1]);
});
