import { spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Client } from "pg";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { isAlive } from "./embedded/process.ts";
import { type Embedded, startEmbedded } from "./embedded.ts";

const lines: string[] = [];
const log = (line: string) => lines.push(line);
const folder = mkdtempSync(join(tmpdir(), "cell-crm-embedded-"));
chmodSync(folder, 0o755);
const dataDir = join(folder, "data");
const options = { dataDir, port: 21_432, log };

async function query<Row>(connectionString: string, text: string): Promise<Row[]> {
  const client = new Client({ connectionString });
  await client.connect();
  try {
    return (await client.query(text)).rows as Row[];
  } finally {
    await client.end();
  }
}

describe("the embedded PostgreSQL", () => {
  let server: Embedded;

  beforeAll(async () => {
    server = await startEmbedded(options);
  });

  afterAll(async () => {
    await server.stop();
    rmSync(server.home, { recursive: true, force: true });
    rmSync(folder, { recursive: true, force: true });
  });

  it("the embedded PostgreSQL is reachable by TCP and by its socket, in a form that URL and pg read alike", async () => {
    for (const url of [server.url, server.socketUrl]) {
      expect(new URL(url).pathname).toBe("/cell");
      expect(await query(url, "select current_user as user, current_database() as db")).toEqual([{ user: "postgres", db: "cell" }]);
    }
    const [socket] = await query<{ address: string | null }>(server.socketUrl, "select inet_client_addr() as address");
    expect(socket?.address).toBeNull();
  });

  it("the embedded PostgreSQL needs the password by TCP and socket, and only its owner can read it", async () => {
    for (const url of [server.url, server.socketUrl]) {
      const wrong = new URL(url);
      wrong.password = "wrong";
      await expect(query(wrong.href, "select 1")).rejects.toThrow("password authentication failed");
    }
    expect(statSync(join(server.home, "postgres.password")).mode & 0o777).toBe(0o600);
  });

  it("the embedded PostgreSQL indexes Chinese text by trigrams", async () => {
    await query(server.url, "create extension if not exists pg_trgm");
    const [row] = await query<{ grams: string[] }>(server.url, "select show_trgm('某某公司') as grams");
    expect(row?.grams.length).toBeGreaterThan(3);
  });

  it("the embedded PostgreSQL restarts within seconds of a kill -9, with its data and at the same address", async () => {
    await query(server.url, "create table kept as select 42 as answer");
    const killed = server.pid;
    process.kill(killed, "SIGKILL");
    await vi.waitFor(() => expect(server.pid).not.toBe(killed), { timeout: 10_000, interval: 20 });
    expect(await query(server.url, "select answer from kept")).toEqual([{ answer: 42 }]);
    expect(await query(server.socketUrl, "select answer from kept")).toEqual([{ answer: 42 }]);
    expect(lines.at(-1)).toContain("was restarted");
  });

  it("the embedded PostgreSQL is adopted after a kill -9 of its supervisor, and supervised again", async () => {
    await server.stop();
    const code = `import { startEmbedded } from ${JSON.stringify(new URL("embedded.ts", import.meta.url).href)};
      const { pid } = await startEmbedded({ ...${JSON.stringify(options)}, log() {} });
      console.log(pid); setInterval(() => {}, 1000);`;
    const parent = spawn(process.execPath, ["--input-type=module", "-e", code], { stdio: ["ignore", "pipe", "inherit"] });
    const [output] = await once(parent.stdout, "data");
    const orphan = Number(String(output));
    parent.kill("SIGKILL");
    await once(parent, "exit");

    server = await startEmbedded(options);
    expect(server.pid).toBe(orphan);
    process.kill(orphan, "SIGKILL");
    await vi.waitFor(() => expect(server.pid).not.toBe(orphan), { timeout: 10_000, interval: 20 });
    expect(await query(server.url, "select answer from kept")).toEqual([{ answer: 42 }]);
  });

  it("the embedded PostgreSQL ignores a lock whose pid belongs to another program", async () => {
    await server.stop();
    const lock = [process.pid, join(server.home, "postgres"), 1, 21_432, "", "127.0.0.1", "", "ready"].join("\n");
    writeFileSync(join(server.home, "postgres", "postmaster.pid"), lock);
    server = await startEmbedded(options);
    expect(server.pid).not.toBe(process.pid);
    expect(isAlive(server.pid)).toBe(true);
  });

  it("the embedded PostgreSQL rejects data of another major version with a sentence", async () => {
    await server.stop();
    const versionFile = join(server.home, "postgres", "PG_VERSION");
    writeFileSync(versionFile, "17\n");
    await expect(startEmbedded(options)).rejects.toThrow("belong to PostgreSQL 17 but this program contains PostgreSQL 18");
    writeFileSync(versionFile, "18\n");
    server = await startEmbedded(options);
    expect(await query(server.url, "select answer from kept")).toEqual([{ answer: 42 }]);
  });
});
