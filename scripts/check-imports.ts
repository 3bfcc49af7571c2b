import { existsSync, globSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { cruise, type IForbiddenRuleType } from "dependency-cruiser";

/** One breach of a rule: the rule's name, the file, and its import or content. */
export interface Breach {
  rule: string;
  file: string;
  what: string;
}

const folders = ["shared", "gateway", "cells", "scripts", "bench"];
const test = "\\.test\\.ts$";
/** Has packages of its own, which are installed for its test alone. */
const ownPackages = "scripts/clients";

/** Packages by the path that they resolve to, and by their names where they are not installed. */
function packages(...names: string[]): string[] {
  return names.flatMap((name) => [`^${name}(/|$)`, `node_modules/(@types/)?${name}(/|$)`]);
}

const importRules: IForbiddenRuleType[] = [
  { name: "problem-imports-nothing", from: { path: "^shared/problem/src/", pathNot: test }, to: { pathNot: "^shared/problem/src/" } },
  {
    name: "http-knows-no-database",
    from: { path: "^shared/http/" },
    to: { path: ["^shared/(postgres|cell)/", ...packages("@cell/postgres", "@cell/cell", "pg", "kysely")] },
  },
  {
    name: "postgres-knows-no-http",
    from: { path: "^shared/postgres/" },
    to: { path: ["^shared/(http|cell)/", ...packages("@cell/http", "@cell/cell", "hono", "@hono")] },
  },
  {
    name: "shared-knows-no-program",
    from: { path: "^shared/" },
    to: { path: ["^(gateway|cells)/", ...packages("@cell/gateway", "@cell/crm", "@cell/messaging")] },
  },
  {
    name: "gateway-knows-no-cell",
    from: { path: "^gateway/" },
    to: { path: ["^cells/", "^shared/cell/", ...packages("@cell/cell", "@cell/crm", "@cell/messaging")] },
  },
  { name: "cells-speak-http", from: { path: "^cells/([^/]+)/" }, to: { path: "^(cells/(?!$1/)|gateway/)" } },
  {
    name: "domain-is-pure",
    from: { path: "(^|/)domain\\.ts$" },
    to: {
      path: [
        ...packages("hono", "@hono", "kysely", "pg", "uuid"),
        "^(node:)?(crypto|timers|perf_hooks|fs|net|http|https|process|os|child_process|worker_threads)(/|$)",
        "(^|/)(routes|repository)\\.ts$",
      ],
    },
  },
  { name: "repository-knows-no-http", from: { path: "(^|/)repository\\.ts$" }, to: { path: packages("hono", "@hono") } },
  {
    name: "routes-stay-in-their-slice",
    from: { path: "^cells/([^/]+)/src/([^/]+)/" },
    to: { path: "^cells/$1/src/(?!$2/)[^/]+/routes\\.ts$" },
  },
  { name: "no-circles", from: { pathNot: "^openapi/" }, to: { circular: true } },
];

const textRules: { name: string; files: RegExp; but?: RegExp; pattern: RegExp }[] = [
  {
    name: "environment-in-one-module",
    files: /^(shared|gateway|cells)\//,
    but: /^shared\/http\/src\/env\.ts$|\.test\.ts$|^shared\/postgres\/src\/testing\/|^cells\/console\/vite\.config\.ts$/,
    pattern: /\bprocess\s*(\.|\[")env\b|from "(node:)?process"/,
  },
  { name: "no-raw-sql", files: /^(shared|gateway|cells)\//, pattern: /\bsql\s*\.\s*raw\b/ },
  { name: "no-barrels-in-cells", files: /^cells\/(?!console\/)[^/]+\/src\/(.*\/)?index\.ts$/, pattern: /^/ },
  {
    name: "domain-is-pure",
    files: /(^|\/)domain\.ts$/,
    pattern: /\bDate\.now\(|\bnew Date\(\)|\bMath\.random\(|\bperformance\.now\(|\bcrypto\./,
  },
];

/** Each one disables the type checker at its place. */
const cast = /\bas never\b|\bas unknown as\b/;
/** Limit of casts in shared, gateway and cells, tests included. */
const castLimit = 20;

/**
 * Checks every file below `root` against the rules above. Rejects if the tool has seen fewer modules than there are files: with an
 * unsupported TypeScript it sees none, and finds no breach.
 */
export async function checkImports(root: string): Promise<{ files: number; breaches: Breach[] }> {
  const present = folders.filter((folder) => existsSync(join(root, folder)));
  const files = globSync(
    present.map((folder) => `${folder}/**/*.{ts,tsx}`),
    { cwd: root, exclude: (path) => ["node_modules", "dist"].includes(basename(path)) || path === ownPackages },
  ).sort();
  const result = await cruise(present, {
    baseDir: root,
    validate: true,
    ruleSet: { forbidden: importRules },
    exclude: { path: ["(^|/)dist/", `^${ownPackages}/`] },
    doNotFollow: { path: "node_modules" },
    tsPreCompilationDeps: true,
    enhancedResolveOptions: { exportsFields: ["exports"], conditionNames: ["import", "node", "default", "types"] },
  });
  if (typeof result.output === "string") throw new Error(`dependency-cruiser says: ${result.output}`);
  const seen = new Set(result.output.modules.map(({ source }) => source));
  const unseen = files.filter((file) => !seen.has(file));
  if (unseen.length > 0) throw new Error(`dependency-cruiser has not read ${unseen.length} of ${files.length} files, such as ${unseen[0]}`);

  const imports = result.output.summary.violations.map(({ rule, from, to, cycle }) => ({
    rule: rule.name,
    file: from,
    what: cycle ? cycle.map(({ name }) => name).join(" → ") : to,
  }));
  const texts = files.flatMap((file) => checkText(root, file));
  return { files: files.length, breaches: [...imports, ...texts, ...checkCasts(root, files)] };
}

/** Every cast without a comment in the line before it, and all of them if there are too many. */
function checkCasts(root: string, files: readonly string[]): Breach[] {
  const casts = files
    .filter((file) => /^(shared|gateway|cells)\//.test(file))
    .flatMap((file) => {
      const lines = readFileSync(join(root, file), "utf8").split("\n");
      return lines.flatMap((line, index) =>
        cast.test(line) && !isComment(line) ? { file, what: `line ${index + 1}`, isExplained: isComment(lines[index - 1] ?? "") } : [],
      );
    });
  const unexplained = casts.filter(({ isExplained }) => !isExplained).map(({ file, what }) => ({ rule: "casts-have-reasons", file, what }));
  return casts.length < castLimit
    ? unexplained
    : [...unexplained, ...casts.map(({ file, what }) => ({ rule: "casts-are-few", file, what }))];
}

function isComment(line: string): boolean {
  return /^\s*(\/\/|\/?\*)/.test(line);
}

function checkText(root: string, file: string): Breach[] {
  const rules = textRules.filter(({ files, but }) => files.test(file) && !but?.test(file));
  if (rules.length === 0) return [];
  const text = readFileSync(join(root, file), "utf8");
  return rules.flatMap(({ name, pattern }) => {
    const found = pattern.exec(text);
    return found ? [{ rule: name, file, what: found[0] || "this file" }] : [];
  });
}

if (import.meta.main) {
  const { files, breaches } = await checkImports(join(import.meta.dirname, ".."));
  for (const { rule, file, what } of breaches) console.error(`${rule}: ${file} → ${what}`);
  console.log(`${files} files, ${breaches.length} breaches of the import rules`);
  process.exitCode = breaches.length > 0 ? 1 : 0;
}
