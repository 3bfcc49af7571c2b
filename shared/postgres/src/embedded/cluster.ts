import { execFile } from "node:child_process";
import { randomBytes } from "node:crypto";
import { chownSync, existsSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { ownFolder, type Place } from "./place.ts";

/** The role that initdb creates. */
export const superuser = "postgres";
export const database = "cell";

/**
 * Creates the data directory unless it exists; returns the superuser's password. Throws a sentence if the data belong to another major
 * version.
 */
export async function ensureCluster(place: Place, fast: boolean): Promise<string> {
  const passwordFile = join(place.home, "postgres.password");
  const versionFile = join(place.data, "PG_VERSION");
  if (existsSync(versionFile)) {
    const version = readFileSync(versionFile, "utf8").trim();
    if (version !== String(place.version)) {
      throw new Error(
        `The data in ${place.data} belong to PostgreSQL ${version} but this program contains PostgreSQL ${place.version}: ` +
          "export them with the program that wrote them, or choose another DATA_DIR.",
      );
    }
    if (!existsSync(passwordFile)) throw new Error(`The password of the data in ${place.data} is missing: ${passwordFile} is gone.`);
    return readFileSync(passwordFile, "utf8").trim();
  }

  const password = randomBytes(24).toString("base64url");
  writeFileSync(passwordFile, `${password}\n`, { mode: 0o600 });
  if (place.user) chownSync(passwordFile, place.user.uid, place.user.gid);
  // Created under a temporary name and then renamed: a directory with the final name is always complete.
  const partial = `${place.data}.new`;
  rmSync(partial, { recursive: true, force: true });
  ownFolder(partial, place.user);
  await initdb(place, partial, passwordFile, fast);
  renameSync(partial, place.data);
  return password;
}

async function initdb(place: Place, dir: string, passwordFile: string, fast: boolean): Promise<void> {
  // With the C character classes, pg_trgm finds no letters in Chinese text.
  const characterType = process.platform === "darwin" ? "en_US.UTF-8" : "C.UTF-8";
  // The built-in provider is new in PostgreSQL 17; libc's with these locales sorts and classifies alike.
  const provider = place.version >= 17 ? ["--locale-provider", "builtin", "--builtin-locale", "C.UTF-8"] : ["--locale", "C"];
  const args = [
    ...["-D", dir, "--username", superuser, "--pwfile", passwordFile, "--auth", "scram-sha-256", "--no-instructions", "--encoding", "UTF8"],
    ...[...provider, "--lc-collate", "C", "--lc-ctype", characterType],
    ...(fast ? ["--no-sync"] : []),
  ];
  try {
    await promisify(execFile)(join(place.native, "bin", "initdb"), args, { ...place.user, cwd: "/", env: serverEnv });
  } catch (error) {
    const { stderr = "" } = error as { stderr?: string };
    throw new Error(`PostgreSQL could not make its data directory ${dir}: ${stderr.trim() || (error as Error).message}`, { cause: error });
  }
}

/** Excludes the caller's environment, which may hold settings for other servers. */
export const serverEnv: NodeJS.ProcessEnv = { PATH: "/usr/local/bin:/usr/bin:/bin", LC_ALL: "C", TZ: "UTC" };
