import { execFile } from "node:child_process";
import { existsSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startProduct, type TestProduct } from "./testing/product.ts";

const folder = join(import.meta.dirname, "clients");
const isInstalled = existsSync(join(folder, "node_modules"));
if (!isInstalled) console.warn("scripts/clients.test.ts is skipped: its tools are not installed (npm ci --prefix scripts/clients)");

const execute = promisify(execFile);

/** Runs a tool of the folder. Resolves to what it writes; rejects with that when it fails. */
async function run(tool: string, ...args: string[]): Promise<string> {
  const env = { ...process.env, REDOCLY_TELEMETRY: "off", REDOCLY_SUPPRESS_UPDATE_NOTICE: "true" };
  const running = execute(join(folder, "node_modules/.bin", tool), args, { cwd: folder, env, maxBuffer: 2 ** 24 });
  const { stdout } = await running.catch((error) => {
    throw new Error(`${tool} ${args.join(" ")}:\n${error.stdout}\n${error.stderr}`);
  });
  return stdout;
}

test("the tools have exact versions, and their lock holds what each platform needs and no addresses", async () => {
  const { stdout } = await execute(process.execPath, [join(import.meta.dirname, "check-lock.mjs"), folder]);
  expect(stdout).toBe("package-lock.json: 0 faults\n");
});

test.each(["redocly", "spectral"])("each rule that %s is told to pass over stands behind its reason", (linter) => {
  const lines = readFileSync(join(folder, `${linter}.yaml`), "utf8").split("\n");
  const silenced = lines.flatMap((line, index) => (/^ {2}[\w-]+: off$/.test(line) ? [index] : []));
  expect(silenced.length).toBeGreaterThan(0);
  for (const index of silenced) expect(lines[index - 1]).toMatch(/^ {2}# .+\.$/);
});

describe.skipIf(!isInstalled)("the published documents", () => {
  test.each(["crm", "gateway"])("have no error and no warning of Redocly and Spectral: %s", { timeout: 120_000 }, async (name) => {
    const document = `../../openapi/${name}.json`;
    // A warning alone does not make it fail.
    const found = await run("redocly", "lint", "--config", "redocly.yaml", "--format", "json", document);
    expect(JSON.parse(found).problems).toEqual([]);
    await run("spectral", "lint", "--ruleset", "spectral.yaml", "--fail-severity", "hint", document);
  });

  describe("as clients", () => {
    let product: TestProduct;
    beforeAll(async () => {
      product = await startProduct();
    }, 60_000);
    afterAll(async () => {
      rmSync(join(folder, "dist"), { recursive: true, force: true });
      await product.stop();
    });

    test("of openapi-typescript with openapi-fetch, orval and @hey-api/openapi-ts compile, and upload a CSV file", {
      timeout: 240_000,
    }, async () => {
      await run("openapi-typescript", "../../openapi/crm.json", "-o", "dist/openapi-typescript.ts");
      await run("orval", "--config", "./orval.config.mjs");
      await run("openapi-ts", "-f", "hey-api.config.mjs");
      await run("tsc", "-p", ".");
      const { gateway, key, tenantId } = product;
      const env = { ...process.env, BASE_URL: `${gateway.url}/api/v1/crm`, KEY: key, TENANT_ID: tenantId };
      for (const use of ["openapi-fetch", "orval", "hey-api"]) await execute(process.execPath, [`uses/${use}.ts`], { cwd: folder, env });
    });
  });
});
