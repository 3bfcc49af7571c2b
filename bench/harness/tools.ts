import { execFileSync, spawnSync } from "node:child_process";
import { accessSync, constants, existsSync, globSync } from "node:fs";
import { delimiter, join } from "node:path";

/** Paths of the measuring programs; undefined: missing, and what needs it is not measured. */
export interface Tools {
  wrk: string | undefined;
  pgbench: string | undefined;
  psql: string | undefined;
  nginx: string | undefined;
}

const debianPackages = { wrk: "wrk", pgbench: "postgresql-contrib", psql: "postgresql-client", nginx: "nginx-light" } as const;
const toolNames = Object.keys(debianPackages) as (keyof Tools)[];

/** Finds the programs, and installs missing ones from Debian's packages if possible; reports what is missing. */
export function findTools(log: (line: string) => void): Tools {
  let found = look();
  const missing = toolNames.filter((name) => found[name] === undefined);
  if (
    missing.length > 0 &&
    install(
      missing.map((name) => debianPackages[name]),
      log,
    )
  )
    found = look();
  for (const name of toolNames.filter((tool) => found[tool] === undefined)) {
    log(`${name} is not there and could not be installed (Debian's package ${debianPackages[name]}): ${consequences[name]}`);
  }
  return found;
}

const consequences: Record<keyof Tools, string> = {
  wrk: "the requests are sent by autocannon, which takes more of the machine for itself.",
  pgbench: "the limits of the database are not measured.",
  psql: "the limit of the export is not measured.",
  nginx: "the limit of the gateway's hop is not measured.",
};

function look(): Tools {
  // Debian's own commands are wrappers around those in a version's folder.
  const versions = globSync("/usr/lib/postgresql/*/bin").sort().reverse();
  const folders = [...versions, ...(process.env.PATH ?? "").split(delimiter), "/usr/sbin"];
  const find = (name: string) => folders.map((folder) => join(folder, name)).find(isProgram);
  return { wrk: find("wrk"), pgbench: find("pgbench"), psql: find("psql"), nginx: find("nginx") };
}

function isProgram(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false; // missing, or not executable for us
  }
}

function install(packages: readonly string[], log: (line: string) => void): boolean {
  if (process.getuid?.() !== 0 || !existsSync("/usr/bin/apt-get")) return false;
  log(`Installing ${packages.join(", ")} from Debian's packages.`);
  // In runlevel 1 packages do not start their servers.
  const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive", RUNLEVEL: "1" };
  const apt = (...args: string[]) =>
    spawnSync("apt-get", args, { env, stdio: ["ignore", "ignore", "inherit"], timeout: 120_000 }).status === 0;
  const all = ["install", "-yq", "--no-install-recommends", ...packages];
  return apt(...all) || (apt("update", "-q") && apt(...all));
}

/** The version that a program says it has, for the report. */
export function versionOf(path: string | undefined, flag: string): string {
  if (path === undefined) return "not there";
  const { stdout, stderr } = spawnSync(path, [flag], { encoding: "utf8" });
  return (stdout || stderr).trim().split("\n")[0] ?? "";
}

/** A one-line description of the machine. */
export function machine(): string {
  const cores = execFileSync("nproc", { encoding: "utf8" }).trim();
  return `${process.platform} ${process.arch}, ${cores} cores, Node ${process.versions.node}`;
}
