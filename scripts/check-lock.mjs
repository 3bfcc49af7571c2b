// Checks package.json files and package-lock.json for reproducible installs. Plain JavaScript: it may run before an install.
import { existsSync, globSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const permissive = new Set(
  "MIT MIT-0 ISC BSD-2-Clause BSD-3-Clause 0BSD Apache-2.0 PostgreSQL BlueOak-1.0.0 CC0-1.0 Unlicense Python-2.0 Zlib WTFPL".split(" "),
);
/** The packages that hold Node itself, one for each platform. */
const platformNode = /^node_modules\/node(-bin)?-(aix|darwin|linux|sunos|win)-\w+$/;
/** Number of minor releases that one platform's Node may be behind the newest of the others. */
const toleratedNodeLag = 3;
const exact = /^(npm:(@[\w.-]+\/)?[\w.-]+@)?\d+\.\d+\.\d+(-[\w.-]+)?$/;

/**
 * Returns a sentence for each fault of the repository at `root`: versions that are no exact ones, a lock without the platform packages
 * that a locked package names (the registry may lack them, and `npm ci` then fails), a platform's Node that is behind the others' and so lacks their
 * security fixes, addresses in the lock, licences that are not permissive.
 * @param {string} root
 * @returns {string[]}
 */
export function checkLock(root) {
  const { packages } = readJson(join(root, "package-lock.json"));
  return [
    ...inexactVersions(root),
    ...missingPlatforms(packages),
    ...nodesBehind(packages),
    ...addresses(packages),
    ...licences(root, packages),
  ];
}

function inexactVersions(root) {
  const { workspaces = [] } = readJson(join(root, "package.json"));
  const manifests = globSync(["package.json", ...workspaces.map((pattern) => `${pattern}/package.json`)], { cwd: root });
  return manifests.flatMap((path) => {
    const { dependencies, devDependencies, optionalDependencies } = readJson(join(root, path));
    const wanted = Object.entries({ ...dependencies, ...devDependencies, ...optionalDependencies });
    return wanted
      .filter(([, version]) => !exact.test(version))
      .map(([name, version]) => `${path}: ${name} "${version}" is no exact version`);
  });
}

function missingPlatforms(packages) {
  return Object.entries(packages).flatMap(([path, { version, optionalDependencies = {} }]) =>
    Object.keys(optionalDependencies)
      .filter((name) => !isLocked(packages, path, name))
      .map((name) => `package-lock.json: ${name}, which ${path || "package.json"}@${version} names, is missing`),
  );
}

/** Resolves like Node: in the package's own node_modules, then in those of the folders above. */
function isLocked(packages, path, name) {
  for (let folder = path; ; folder = folder.slice(0, Math.max(0, folder.lastIndexOf("node_modules/") - 1))) {
    if (packages[`${folder ? `${folder}/` : ""}node_modules/${name}`]) return true;
    if (!folder) return false;
  }
}

/** A platform's Node has to be of the same major version as the newest one, and at most `toleratedNodeLag` minor releases behind it. */
function nodesBehind(packages) {
  const nodes = Object.entries(packages)
    .filter(([path]) => platformNode.test(path))
    .map(([path, { version }]) => ({ path, version, numbers: version.split(".").map(Number) }));
  const [newest] = nodes.toSorted((a, b) => b.numbers[0] - a.numbers[0] || b.numbers[1] - a.numbers[1]);
  return nodes
    .filter(({ numbers: [major, minor] }) => major !== newest.numbers[0] || minor < newest.numbers[1] - toleratedNodeLag)
    .map(
      ({ path, version }) =>
        `package-lock.json: ${path} is Node ${version}, more than ${toleratedNodeLag} releases behind ${newest.version} of ${newest.path}`,
    );
}

function addresses(packages) {
  return Object.entries(packages)
    .filter(([, { resolved, link }]) => !link && /^[a-z+]+:\/\//.test(resolved ?? ""))
    .map(
      ([path]) =>
        `package-lock.json: ${path} names the address that it came from; npm install --omit-lockfile-registry-resolved leaves it out`,
    );
}

function licences(root, packages) {
  return Object.entries(packages).flatMap(([path, { dev, link, license }]) => {
    if (dev || link || !path.includes("node_modules/")) return [];
    const manifest = join(root, path, "package.json");
    const found = license ?? (existsSync(manifest) ? readJson(manifest).license : undefined);
    return isPermissive(found) ? [] : [`package-lock.json: ${path} has the licence ${found ?? "(none)"}, which is not on the list`];
  });
}

/** Of alternatives one must be on the list, of joined licences all. */
function isPermissive(expression) {
  if (typeof expression !== "string") return false;
  const alternatives = expression.replaceAll(/[()]/g, "").split(" OR ");
  return alternatives.some((alternative) => alternative.split(" AND ").every((name) => permissive.has(name)));
}

function readJson(path) {
  return JSON.parse(readFileSync(path, "utf8"));
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const faults = checkLock(process.argv[2] ?? dirname(dirname(fileURLToPath(import.meta.url))));
  for (const fault of faults) console.error(fault);
  console.log(`package-lock.json: ${faults.length} faults`);
  process.exitCode = faults.length > 0 ? 1 : 0;
}
