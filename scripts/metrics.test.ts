import { spawnSync } from "node:child_process";
import { afterAll, beforeAll, expect, test } from "vitest";
import { metricsToken } from "../gateway/src/testing/gateway.ts";
import { readPages, rowsOf } from "./testing/pages.ts";
import { startProduct, type TestProduct } from "./testing/product.ts";

const hasPromtool = spawnSync("promtool", ["--version"]).status === 0;
if (!hasPromtool) console.warn("scripts/metrics.test.ts runs without promtool (Debian: apt-get install prometheus)");

let product: TestProduct;
beforeAll(async () => {
  product = await startProduct();
}, 60_000);
afterAll(() => product.stop());

/** The metrics of both programs, after a request has gone through them. */
async function metrics(): Promise<{ program: string; text: string }[]> {
  const { gateway, cell, key, tenantId } = product;
  expect((await gateway.call("/api/v1/crm/customers", { key, tenantId })).status).toBe(200);
  const own = await fetch(`${gateway.url}/metrics`, { headers: { authorization: `Bearer ${metricsToken}` } });
  expect(own.status).toBe(200);
  return [
    { program: "gateway", text: await own.text() },
    { program: "cell", text: await cell.metrics() },
  ];
}

test("what ends in _total is a counter, and every counter does", async () => {
  for (const { program, text } of await metrics()) {
    const types = [...text.matchAll(/^# TYPE (\S+) (\w+)$/gm)].map(([, name = "", type = ""]) => ({ name, type }));
    expect(types.length).toBeGreaterThan(10);
    for (const { name, type } of types) expect(name.endsWith("_total"), `${program}: ${name} is a ${type}`).toBe(type === "counter");
  }
});

test("the documentation names every metric of the programs, and no other; those of the Node process aside", async () => {
  const names = (await metrics()).flatMap(({ text }) => [...text.matchAll(/^# TYPE (\S+)/gm)].map(([, name = ""]) => name));
  const page = readPages().find(({ path }) => path === "docs/operations/metrics.md");
  const documented = page ? rowsOf(page).flatMap(([first = ""]) => /^`(\w+_\w+)`$/.exec(first)?.[1] ?? []) : [];
  const own = new Set(names.filter((name) => !/^(process|nodejs)_/.test(name)));
  expect(documented.sort()).toEqual([...own].sort());
});

test.skipIf(!hasPromtool)("promtool accepts the metrics of gateway and cell without a remark", async () => {
  for (const { program, text } of await metrics()) {
    const { status, stdout, stderr } = spawnSync("promtool", ["check", "metrics"], { input: text, encoding: "utf8" });
    expect([status, stdout + stderr], program).toEqual([0, ""]);
  }
});
