import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { freePort } from "@cell/postgres/embedded/postmaster";
import { root } from "./pages.ts";

/** The content of `demo.json` from `npm start`. */
export interface Demo {
  metrics: Record<string, string>;
  gateway: string;
  cells: Record<string, string>;
  database: string;
  pids: Record<string, number>;
  tenants: Record<string, Record<string, { userId: string; key: string }>>;
}

/** A copy of the repository like a fresh clone, in which `npm start` can run. */
export class StartedCopy {
  readonly folder = mkdtempSync(join(tmpdir(), "cell-crm-start-"));
  readonly #firstPort: number;
  #running: ChildProcess | undefined;
  #output = "";

  /** `firstPort`: the first port to try. Concurrent test files need different ones. */
  constructor(firstPort: number) {
    this.#firstPort = firstPort;
    const files = execFileSync("git", ["ls-files", "-co", "--exclude-standard"], { cwd: root, encoding: "utf8" })
      .split("\n")
      .filter((file) => file !== "" && existsSync(join(root, file)));
    for (const file of files) cpSync(join(root, file), join(this.folder, file));
    // Hard links instead of a second installation; npm start would install what is missing.
    execFileSync("cp", ["-al", join(root, "node_modules"), join(this.folder, "node_modules")]);
  }

  /** The process id of `npm start`, which leads its own process group. */
  get pid(): number {
    return this.#running?.pid ?? 0;
  }

  /** Output of `npm start` since its last start. */
  get output(): string {
    return this.#output;
  }

  /** Runs `npm start` on free ports. Resolves when everything is ready; rejects with its output otherwise. */
  async start(): Promise<Demo> {
    const file = join(this.folder, ".data", "demo.json");
    rmSync(file, { force: true });
    this.#output = "";
    const gatewayPort = await freePort(this.#firstPort);
    const crmPort = await freePort(gatewayPort + 1);
    const child = spawn("npm", ["start"], {
      cwd: this.folder,
      detached: true,
      env: { ...process.env, PORT: String(gatewayPort), CRM_PORT: String(crmPort), DATA_DIR: ".data" },
    });
    this.#running = child;
    for (const stream of [child.stdout, child.stderr]) stream.on("data", (text) => (this.#output += text));
    for (let waited = 0; !existsSync(file); waited += 100) {
      if (child.exitCode !== null || waited > 90_000) throw new Error(`npm start did not come up:\n${this.#output}`);
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    return JSON.parse(readFileSync(file, "utf8")) as Demo;
  }

  /** Like Ctrl-C in a terminal: signals the whole group. Resolves to the exit code. */
  async stop(): Promise<number | null> {
    const child = this.#running;
    if (!child?.pid || child.exitCode !== null) return child?.exitCode ?? null;
    const ended = new Promise<number | null>((resolve) => child.once("exit", resolve));
    process.kill(-child.pid, "SIGINT");
    return ended;
  }

  async remove(): Promise<void> {
    await this.stop();
    rmSync(this.folder, { recursive: true, force: true });
  }
}
