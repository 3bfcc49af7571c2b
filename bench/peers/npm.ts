import { spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { basename, delimiter, dirname, join } from "node:path";

export interface Packages {
  /** A folder for them alone. */
  dir: string;
  /** Names and exact versions. */
  dependencies: Record<string, string>;
  /** Path of their Node: npm chooses versions by the one it runs on. */
  node: string;
  /** Packages whose install script has to run. */
  built?: string[];
  log(line: string): void;
}

const timeoutMs = 900_000;

/** Installs packages from npm's registry, unless exactly these versions are installed. Rejects with the end of npm's output. */
export async function installPackages({ dir, dependencies, node, built = [], log }: Packages): Promise<void> {
  const manifest = { private: true, dependencies, allowScripts: Object.fromEntries(built.map((name) => [name, true])) };
  const stamp = join(dir, "installed.json");
  const wanted = JSON.stringify({ ...manifest, node });
  if (existsSync(stamp) && readFileSync(stamp, "utf8") === wanted) return;
  log(
    `Installing ${Object.entries(dependencies).map(([name, version]) => `${name} ${version}`)} from npm into ${dir}; this takes up to some minutes.`,
  );
  rmSync(dir, { recursive: true, force: true });
  mkdirSync(dir, { recursive: true });
  writeFileSync(join(dir, "package.json"), JSON.stringify(manifest, null, 2));
  const quiet = ["--no-audit", "--no-fund", "--loglevel=error"];
  await npm(dir, node, ["install", "--ignore-scripts", ...quiet]);
  if (built.length > 0) await npm(dir, node, ["rebuild", ...built, "--foreground-scripts", ...quiet]);
  writeFileSync(stamp, wanted);
}

async function npm(dir: string, node: string, args: string[]): Promise<void> {
  const logPath = join(dir, `npm-${args[0]}.log`);
  const output = openSync(logPath, "w");
  // A Node from the registry has its headers: native builds need no download.
  const home = dirname(dirname(node));
  const headers = existsSync(join(home, "include", "node", "node.h")) ? { npm_config_nodedir: home } : {};
  const env = { ...process.env, ...headers, PATH: [dirname(node), process.env.PATH].join(delimiter) };
  const signal = AbortSignal.timeout(timeoutMs);
  const child = spawn(node, [npmProgram(), ...args], { cwd: dir, env, signal, stdio: ["ignore", output, output] });
  closeSync(output);
  const [code] = await once(child, "exit");
  if (code !== 0)
    throw new Error(
      `npm ${args[0]} failed; ${logPath} ends with:\n${readFileSync(logPath, "utf8").trimEnd().split("\n").slice(-10).join("\n")}`,
    );
}

/** The npm that runs this, or the first one in the PATH. */
function npmProgram(): string {
  const inPath = (process.env.PATH ?? "").split(delimiter).map((folder) => join(folder, "npm"));
  const found = [process.env.npm_execpath ?? "", ...inPath].find(existsSync);
  const program = found && realpathSync(found);
  if (!program || basename(program) !== "npm-cli.js") throw new Error("npm is not there");
  return program;
}
