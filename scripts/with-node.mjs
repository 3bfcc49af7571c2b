// Runs a command with a Node that can execute TypeScript, after installing the packages of package-lock.json. Plain JavaScript, because it
// has to run on any Node from 18 on.
import { spawn, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { constants, tmpdir } from "node:os";
import { basename, delimiter, dirname, join } from "node:path";
import { isatty } from "node:tty";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const lockFile = join(root, "package-lock.json");
const stampFile = join(root, "node_modules", ".lock-hash");

/**
 * The oldest supported minor version of each release line: 22.21 is the first with the upgrade callback of servers, 24.11 the first with
 * long-term support.
 */
const oldestServed = new Map([
  [22, 21],
  [24, 11],
  [26, 0],
]);
const newestServed = Math.max(...oldestServed.keys());

const [command, ...args] = process.argv.slice(2);
if (!command) fail("usage: node scripts/with-node.mjs <script.ts | script.mjs | script.js | command> [arguments]", 2);
await installDependencies();
run(findNode());

/** @param {string} sentence @param {number} [code] @returns {never} */
function fail(sentence, code = 1) {
  console.error(sentence);
  process.exit(code);
}

async function installDependencies() {
  if (installed()) return;
  const release = await exclusive();
  try {
    if (installed()) return;
    console.error("Installing the dependencies (npm ci); this takes about a minute.");
    const npm = process.env.npm_execpath;
    const viaNpm = npm !== undefined && basename(npm) === "npm-cli.js";
    // Installs development and optional packages whatever NODE_ENV says: the database and Node itself are among them.
    const rest = ["ci", "--include=dev", "--include=optional", "--no-audit", "--no-fund", "--loglevel=error"];
    const ci = viaNpm ? [process.execPath, [npm, ...rest]] : ["npm", rest];
    const { error, status } = spawnSync(ci[0], ci[1], { cwd: root, stdio: ["ignore", 2, 2] });
    if (error) fail(`npm cannot be run (${error.message}): install Node with npm, version 20 or newer.`);
    if (status !== 0) fail("npm ci failed; its message is above. The network or the registry may be out of reach.");
    writeFileSync(stampFile, lockHash());
  } finally {
    release();
  }
}

function lockHash() {
  return createHash("sha256").update(readFileSync(lockFile)).digest("hex");
}

/** Whether node_modules matches the lock: by our stamp, or by npm's own record after an install by the user. */
function installed() {
  const hash = lockHash();
  if (existsSync(stampFile) && readFileSync(stampFile, "utf8") === hash) return true;
  const record = join(root, "node_modules", ".package-lock.json");
  if (!existsSync(record)) return false;
  const wanted = Object.entries(JSON.parse(readFileSync(lockFile, "utf8")).packages);
  const present = JSON.parse(readFileSync(record, "utf8")).packages;
  const same = wanted.every(([path, { version, optional, link }]) => {
    if (!path.includes("node_modules/")) return true;
    const found = present[path];
    return found ? found.version === version && found.link === link : optional === true;
  });
  if (same) writeFileSync(stampFile, hash);
  return same;
}

/** Waits until no other process installs here; returns the release of the lock. */
async function exclusive() {
  const key = createHash("sha256").update(root).digest("hex").slice(0, 12);
  const file = join(tmpdir(), `cell-crm-install-${key}`);
  for (;;) {
    try {
      writeFileSync(file, String(process.pid), { flag: "wx" });
      return () => rmSync(file, { force: true });
    } catch (error) {
      if (error.code !== "EEXIST") throw error;
    }
    if (!alive(file)) rmSync(file, { force: true });
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

function alive(file) {
  try {
    return process.kill(Number(readFileSync(file, "utf8")), 0);
  } catch (error) {
    return error.code === "EPERM";
  }
}

function findNode() {
  if (isRecentEnough(process.versions.node)) return process.execPath;
  for (const name of [`node-${process.platform}-${process.arch}`, `node-bin-${process.platform}-${process.arch}`]) {
    const packaged = join(root, "node_modules", name, "bin", "node");
    if (existsSync(packaged)) return packaged;
  }
  const served = [...oldestServed].map(([major, minor]) => `${major} from ${major}.${minor}`).join(", ");
  fail(
    `Node ${process.versions.node} is not supported (supported: ${served}, and all later lines), and node_modules has no Node for ` +
      `${process.platform}-${process.arch}: install a supported one from https://nodejs.org.`,
  );
}

/** The release lines 23 and 25 have ended, so no version of them is supported. */
function isRecentEnough(version) {
  const [major, minor] = version.split(".").map(Number);
  if (major > newestServed) return true;
  return minor >= (oldestServed.get(major) ?? Number.POSITIVE_INFINITY);
}

function run(node) {
  const bin = join(root, "node_modules", ".bin");
  const env = {
    ...process.env,
    PATH: [dirname(node), bin, process.env.PATH].join(delimiter),
    TURBO_TELEMETRY_DISABLED: "1",
    TURBO_NO_UPDATE_NOTIFIER: "1",
  };
  const script = /\.(ts|mjs|js)$/.test(command);
  const local = join(bin, command);
  const program = script ? node : existsSync(local) ? local : command;
  const child = spawn(program, script ? [command, ...args] : args, { stdio: "inherit", env });
  let signalled = false;
  const tell = (signal) => {
    signalled = true;
    child.kill(signal);
  };
  // A terminal sends Ctrl-C to the child as well: forwarding it would be a second one, which means "immediately".
  const terminal = [0, 1, 2].some((fd) => isatty(fd));
  process.on("SIGINT", () => {
    signalled = true;
    if (!terminal) tell("SIGINT");
  });
  for (const signal of ["SIGTERM", "SIGHUP"]) process.on(signal, tell);
  // A signal to npm ends npm and its shell, and would leave this process and its children behind.
  const parent = process.ppid;
  if (process.env.npm_lifecycle_event) setInterval(() => process.ppid === parent || signalled || tell("SIGTERM"), 250).unref();
  child.on("error", (error) => fail(`${command} cannot be run: ${error.message}`, 127));
  child.on("exit", (code, signal) => process.exit(signal ? 128 + constants.signals[signal] : (code ?? 1)));
}
