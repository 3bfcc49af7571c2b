import { existsSync, globSync, readFileSync } from "node:fs";
import { dirname, join, normalize } from "node:path";
import { statusOf } from "@cell/problem";
import { expect, test } from "vitest";
import { permissions as crmPermissions, roles as crmRoles } from "../cells/crm/src/permissions.ts";
import { effective } from "../cells/crm/src/settings/domain.ts";
import { RolePermissions, roleNames, roles } from "../gateway/src/auth/roles.ts";
import { readPages, root, rowsOf } from "./testing/pages.ts";

const pages = readPages();
const read = (file: string) => readFileSync(join(root, file), "utf8");

function page(path: string) {
  const found = pages.find((candidate) => candidate.path === path);
  if (!found) throw new Error(`there is no page ${path}`);
  return found;
}

test("the README has at most 130 lines", () => {
  expect(read("README.md").trimEnd().split("\n").length).toBeLessThanOrEqual(130);
});

test("every link of the documentation leads to a file and a heading that exist", () => {
  const broken = pages.flatMap(({ path, prose }) =>
    [...prose.matchAll(/\]\(([^)\s]+)\)/g)].flatMap(([, target = ""]) => {
      if (/^[a-z]+:/.test(target)) return [];
      const [file = "", anchor] = target.split("#");
      const linked = file === "" ? path : normalize(join(dirname(path), file));
      if (!existsSync(join(root, linked))) return [`${path}: ${target}`];
      if (anchor === undefined) return [];
      return pages.find((candidate) => candidate.path === linked)?.anchors.has(anchor) ? [] : [`${path}: ${target}`];
    }),
  );
  expect(broken).toEqual([]);
});

test("every page is reached from the README", () => {
  const reached = new Set<string>();
  const queue = ["README.md"];
  for (let path = queue.pop(); path !== undefined; path = queue.pop()) {
    if (reached.has(path)) continue;
    reached.add(path);
    for (const [, target = ""] of page(path).prose.matchAll(/\]\(([^)\s#]+\.md)(?:#[^)]*)?\)/g)) {
      const linked = normalize(join(dirname(path), target));
      if (pages.some((candidate) => candidate.path === linked)) queue.push(linked);
    }
  }
  expect(pages.map(({ path }) => path).filter((path) => !reached.has(path))).toEqual([]);
});

test("every command and every file that the documentation names exists", () => {
  const { scripts } = JSON.parse(read("package.json")) as { scripts: Record<string, string> };
  for (const { path, text, prose } of pages) {
    const commands = [...text.matchAll(/npm run (?:-s )?([a-z]+(?::[a-z]+)*)/g)].map(([, name = ""]) => name);
    expect(
      [...new Set(commands)].filter((name) => !(name in scripts)),
      path,
    ).toEqual([]);
    const files = [...prose.matchAll(/`((?:gateway|cells|shared|scripts|bench|deploy|openapi)\/[\w./{},*-]+)`/g)].map(
      ([, file = ""]) => file,
    );
    expect(
      files.filter((file) => globSync(file, { cwd: root }).length === 0),
      path,
    ).toEqual([]);
  }
});

test("the table of permissions is what the roles give", () => {
  const given = new RolePermissions();
  given.update(new Map([["crm", { permissions: crmPermissions, roles: crmRoles, routes: [] }]]));
  const { grantable } = given;
  const table = rowsOf(page("docs/api/permissions.md"));
  const header = table.find(([first]) => first === "permission") ?? [];
  expect(header.slice(2)).toEqual([...roleNames]);
  const rows = table.flatMap(([first = "", , ...marks]) => {
    const permission = grantable.find((known) => first === `\`${known}\``);
    return permission ? [[permission, roleNames.filter((_, index) => marks[index] === "✓")] as const] : [];
  });
  const expected = grantable.map((permission) => [permission, roleNames.filter((role) => given.of(role).includes(permission))]);
  expect(rows).toEqual(expected);
  const scopes = table.flatMap(([first = "", scope, actorType]) => {
    const role = roleNames.find((known) => first === `\`${known}\``);
    return role ? [[role, scope, actorType]] : [];
  });
  expect(scopes).toEqual(roleNames.map((role) => [role, roles[role].scope, roles[role].actorType]));
});

test("the page of errors has every code with its status, and every code of a field", () => {
  const rows = rowsOf(page("docs/api/errors.md"));
  const codes = rows.flatMap(([first = "", status = ""]) => (/^\d{3}$/.test(status) ? [[first.replaceAll("`", ""), Number(status)]] : []));
  expect(codes).toEqual(Object.entries(statusOf));
  const sources = globSync("{shared,gateway,cells}/**/*.ts", { cwd: root, exclude: (path) => /node_modules|\.test\.ts$/.test(path) });
  const written = sources.flatMap((file) =>
    [...read(file).matchAll(/badField\([^,]+, "([A-Z_]+)"|\bcode: "([A-Z_]+)"/g)].map(([, first, second]) => first ?? second ?? ""),
  );
  const ofImports = ["DUPLICATE_IN_FILE", "DUPLICATE_NAME", "UNKNOWN_COLUMN"];
  const text = page("docs/api/errors.md").prose;
  expect([...new Set([...written, ...ofImports])].filter((code) => !text.includes(`\`${code}\``))).toEqual([]);
});

test("the table of events names those that a webhook can receive", () => {
  const { webhooks } = JSON.parse(read("openapi/crm.json")) as { webhooks: Record<string, unknown> };
  const { text } = page("docs/api/webhooks.md");
  expect(Object.keys(webhooks).filter((event) => !text.includes(`\`${event}\``))).toEqual([]);
});

test("the table of a tenant's settings has each of them with its default", () => {
  const flat = Object.entries(effective({})).flatMap(([name, value]) =>
    typeof value === "object" && Object.keys(value).length > 0
      ? Object.entries(value).map(([inner, own]) => [`${name}.${inner}`, own] as const)
      : [[name, value] as const],
  );
  const expected = flat.map(([name, value]) => [`\`${name}\``, `\`${typeof value === "object" ? JSON.stringify(value) : value}\``]);
  const documented = rowsOf(page("docs/api/settings.md")).flatMap(([name = "", value = ""]) =>
    name.startsWith("`") ? [[name, value]] : [],
  );
  expect(documented.sort()).toEqual(expected.sort());
});

test("each variable of the limits is a setting", () => {
  const rows = rowsOf(page("docs/operations/configuration.md"));
  const settings = new Set(rows.flatMap(([first = ""]) => [...first.matchAll(/`([A-Z][A-Z0-9_]{3,})`/g)].map(([, name = ""]) => name)));
  const variables = [...page("docs/operations/limits.md").text.matchAll(/`([A-Z][A-Z0-9]*_[A-Z0-9_]+)`/g)].map(([, name = ""]) => name);
  const codes = new Set<string>([...Object.keys(statusOf), "TOO_LONG", "INVALID_FORMAT"]);
  expect(variables.filter((name) => !settings.has(name) && !codes.has(name))).toEqual([]);
});
