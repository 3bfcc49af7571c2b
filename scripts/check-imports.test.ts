import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, describe, expect, it, vi } from "vitest";
import { checkImports } from "./check-imports.ts";

let root = "";
let blind = false;

vi.mock("dependency-cruiser", async (original) => {
  const { cruise } = await original<typeof import("dependency-cruiser")>();
  const nothing = { exitCode: 0, output: { modules: [], summary: { violations: [] } } };
  return { cruise: (...options: Parameters<typeof cruise>) => (blind ? nothing : cruise(...options)) };
});

afterEach(() => rmSync(root, { recursive: true, force: true }));

/** Checks a tree of these files; an imported file that is not among them is made empty. Returns `rule: file` of each breach. */
async function breaches(tree: Record<string, string>): Promise<string[]> {
  root = mkdtempSync(join(tmpdir(), "cell-crm-imports-"));
  const files = new Map(Object.entries(tree));
  for (const [path, text] of Object.entries(tree)) {
    for (const [, target] of text.matchAll(/from "(\.[^"]+)"/g)) {
      const imported = join(dirname(path), target ?? "");
      if (!files.has(imported)) files.set(imported, "export const x = 1;\n");
    }
  }
  for (const [path, text] of files) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), text);
  }
  const report = await checkImports(root);
  expect(report.files).toBe(files.size);
  return report.breaches.map(({ rule, file }) => `${rule}: ${file}`);
}

const using = (from: string) => `import { x } from "${from}";\nexport const y = x;\n`;

const broken: [rule: string, file: string, text: string][] = [
  ["problem-imports-nothing", "shared/problem/src/index.ts", using("node:util")],
  ["problem-imports-nothing", "shared/problem/src/index.ts", using("zod")],
  ["http-knows-no-database", "shared/http/src/serve.ts", using("../../postgres/src/index.ts")],
  ["http-knows-no-database", "shared/http/src/serve.ts", using("pg")],
  ["postgres-knows-no-http", "shared/postgres/src/index.ts", using("../../http/src/index.ts")],
  ["postgres-knows-no-http", "shared/postgres/src/index.ts", "import type { Context } from 'hono';\nexport type C = Context;\n"],
  ["shared-knows-no-program", "shared/cell/src/index.ts", using("../../../gateway/src/admin/app.ts")],
  ["shared-knows-no-program", "shared/cell/src/index.ts", using("../../../cells/crm/src/app.ts")],
  ["gateway-knows-no-cell", "gateway/src/admin/app.ts", using("../../../cells/crm/src/app.ts")],
  ["gateway-knows-no-cell", "gateway/src/admin/app.ts", using("@cell/cell")],
  ["cells-speak-http", "cells/crm/src/app.ts", using("../../messaging/src/app.ts")],
  ["cells-speak-http", "cells/crm/src/app.ts", using("../../../gateway/src/admin/app.ts")],
  ["domain-is-pure", "cells/crm/src/contracts/domain.ts", using("hono")],
  ["domain-is-pure", "cells/crm/src/contracts/domain.ts", using("@hono/node-server")],
  ["domain-is-pure", "cells/crm/src/contracts/domain.ts", using("kysely")],
  ["domain-is-pure", "cells/crm/src/contracts/domain.ts", using("pg")],
  ["domain-is-pure", "cells/crm/src/contracts/domain.ts", using("node:crypto")],
  ["domain-is-pure", "cells/crm/src/contracts/domain.ts", using("./repository.ts")],
  ["domain-is-pure", "cells/crm/src/contracts/domain.ts", "export const now = () => Date.now();\n"],
  ["repository-knows-no-http", "cells/crm/src/contracts/repository.ts", using("hono")],
  ["routes-stay-in-their-slice", "cells/crm/src/contracts/repository.ts", using("../payments/routes.ts")],
  ["environment-in-one-module", "cells/crm/src/app.ts", "export const port = process.env.PORT;\n"],
  ["environment-in-one-module", "gateway/src/admin/app.ts", 'import { env } from "node:process";\nexport const port = env.PORT;\n'],
  ["no-raw-sql", "cells/crm/src/contracts/repository.ts", "export const q = (sql: any) => sql.raw('select 1');\n"],
  ["no-barrels-in-cells", "cells/crm/src/contracts/index.ts", "export const x = 1;\n"],
];

describe("the import rules", () => {
  it.each(broken)("%s is broken by %s: %s", async (rule, file, text) => {
    expect(await breaches({ [file]: text })).toContain(`${rule}: ${file}`);
  });

  it("no-circles is broken by two files that import each other", async () => {
    const found = await breaches({ "gateway/src/a.ts": using("./b.ts"), "gateway/src/b.ts": using("./a.ts") });
    expect(found).toContain("no-circles: gateway/src/a.ts");
  });

  it("no-circles is broken by two files that import each other's types alone", async () => {
    const found = await breaches({
      "gateway/src/types.ts": 'import type { A } from "./a.ts";\nexport type B = A;\n',
      "gateway/src/a.ts": 'import type { B } from "./types.ts";\nexport type A = B | number;\n',
    });
    expect(found).toContain("no-circles: gateway/src/a.ts");
  });

  it("allow what the architecture allows", async () => {
    const found = await breaches({
      "shared/http/src/render.ts": using("../../problem/src/index.ts"),
      "shared/cell/src/commands/command.ts":
        using("../../postgres/src/index.ts") + using("../../http/src/index.ts").replaceAll("x", "z").replace("y", "w"),
      "cells/crm/src/app.ts": using("./contracts/routes.ts"),
      "cells/crm/src/contracts/routes.ts": using("./repository.ts"),
      "cells/crm/src/payments/repository.ts": using("../contracts/repository.ts"),
      "cells/crm/src/contracts/domain.ts": using("../../../../shared/problem/src/index.ts"),
      "shared/http/src/env.ts": "export const port = process.env.PORT;\n",
      "gateway/src/types.ts": "export type B = number;\n",
      "gateway/src/a.ts": 'import type { B } from "./types.ts";\nexport type A = B | number;\n',
    });
    expect(found).toEqual([]);
  });

  it("casts-have-reasons is broken by a cast without a comment before it", async () => {
    const found = await breaches({
      "gateway/src/a.ts": "export const x = 1 as never;\n",
      "gateway/src/b.ts": "export const x = {} as unknown as Date;\n",
      "gateway/src/c.ts": "// Nothing reads it as never before.\nexport const x = 1 as never;\n",
    });
    expect(found).toEqual(["casts-have-reasons: gateway/src/a.ts", "casts-have-reasons: gateway/src/b.ts"]);
  });

  it("casts-are-few is broken by 20 casts, whatever their reasons", async () => {
    const casts = (count: number) => ({
      "cells/crm/src/a.ts": Array.from({ length: count }, (_, index) => `// Why.\nexport const x${index} = 1 as never;\n`).join(""),
    });
    expect(await breaches(casts(19))).toEqual([]);
    expect(await breaches(casts(20))).toEqual(Array.from({ length: 20 }, () => "casts-are-few: cells/crm/src/a.ts"));
  });

  it("do not pass when the tool has read nothing", async () => {
    blind = true;
    await expect(breaches({ "gateway/src/admin/app.ts": "export const x = 1;\n" })).rejects.toThrow("has not read 1 of 1 files");
    blind = false;
  });
});
