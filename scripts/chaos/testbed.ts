import { execFileSync } from "node:child_process";
import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { freePort } from "@cell/postgres/embedded/postmaster";
import { isAlive, sendSignal } from "@cell/postgres/embedded/process";
import { TcpProxy } from "@cell/postgres/testing/proxy";
import type { DemoFile } from "../start/demo.ts";
import { type ServiceName, System } from "../start/system.ts";
import { call } from "./http.ts";

/** Differences of a fault's system from `npm start`. Faults with the same setup share one system. */
export interface Setup {
  /** Further variables of the cell, of the gateway, or of both. */
  crm?: Record<string, string>;
  gateway?: Record<string, string>;
  /** Adds a proxy between gateway and cell, behind which cells can be replaced. */
  balanced?: boolean;
  /** The data is on a file system of its own of this many MB. */
  diskMb?: number;
  /** Gateway and cell read the time from a clock that can be stepped. */
  clock?: boolean;
}

export interface TenantKeys {
  tenantId: string;
  schema: string;
  /** Bearer keys of different users. */
  keys: string[];
}

/** The running system under test: real processes, with a proxy between the cell and PostgreSQL. */
export class Testbed {
  readonly folder: string;
  readonly dataDir: string;
  /** Between the cell and PostgreSQL. */
  readonly database: TcpProxy;
  /** Between gateway and cell, in a balanced setup. */
  readonly cells: TcpProxy | undefined;
  /** Where requests are sent to. */
  gateway = "";
  /** Output of the supervisor. */
  readonly lines: string[] = [];
  /** Process ids that were ended on purpose. */
  readonly ended = new Set<number>();
  readonly born: { name: string; pid: number }[] = [];
  readonly #setup: Setup;
  readonly #system: System;
  #demo: DemoFile | undefined;

  private constructor(
    setup: Setup,
    ports: { gateway: number; crm: number },
    folder: string,
    database: TcpProxy,
    cells: TcpProxy | undefined,
  ) {
    this.#setup = setup;
    this.folder = folder;
    this.database = database;
    this.cells = cells;
    this.dataDir = join(folder, "data");
    const settings = {
      host: "127.0.0.1",
      gatewayPort: ports.gateway,
      crmPort: ports.crm,
      dataDir: this.dataDir,
      demo: false,
      databaseUrl: undefined,
      databasePort: ports.crm + 10,
      logLevel: "info",
      rateLimits: { token: "0", tenant: "0" },
    };
    this.#system = new System(settings, (line) => this.lines.push(line), {
      adjust: (name, env) => this.#adjust(name, env),
      onPid: (name, pid) => this.born.push({ name, pid }),
    });
  }

  /** Starts everything. `ports`: the first of a handful of ports to use. Rejects with a sentence. */
  static async start(setup: Setup, firstPort: number, random: () => number): Promise<Testbed> {
    const folder = mkdtempSync(join(tmpdir(), "cell-crm-chaos-"));
    chmodSync(folder, 0o755);
    const database = await TcpProxy.open({ targetPort: 0, random });
    database.commitFate = () => "pass";
    const cells = setup.balanced ? await TcpProxy.open({ targetPort: 0, random }) : undefined;
    const gateway = await freePort(firstPort);
    const testbed = new Testbed(setup, { gateway, crm: await freePort(gateway + 1) }, folder, database, cells);
    testbed.#makeDisk();
    testbed.step(0);
    try {
      testbed.#demo = await testbed.#system.start(AbortSignal.timeout(120_000));
    } catch (error) {
      await testbed.stop();
      throw error;
    }
    testbed.gateway = testbed.#demo.gateway;
    return testbed;
  }

  /** Stops everything and deletes its data. */
  async stop(): Promise<void> {
    this.database.mend();
    await this.#system.stop();
    await Promise.all([this.database.close(), this.cells?.close()]);
    if (this.#setup.diskMb) execFileSync("umount", [this.dataDir]);
    rmSync(this.folder, { recursive: true, force: true });
  }

  /** Kills everything at once, if the run itself is interrupted. */
  abandon(): void {
    this.#system.kill();
    // The server cannot be waited for here: its folder goes once nothing holds it.
    if (this.#setup.diskMb) execFileSync("umount", ["--lazy", this.dataDir]);
    rmSync(this.folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
  }

  /** Owner's URL, past the proxy. */
  get databaseUrl(): string {
    return this.#known.database;
  }

  pid(name: ServiceName | "postgres"): number {
    return this.#known.pids[name] ?? 0;
  }

  /** Kills processes on purpose. */
  kill(...pids: number[]): void {
    for (const pid of pids) {
      this.ended.add(pid);
      sendSignal(pid, "SIGKILL");
    }
  }

  /** Services that ended without being killed. */
  unexpectedEnds(): string[] {
    return this.born.filter(({ pid }) => !this.ended.has(pid) && !isAlive(pid)).map(({ name, pid }) => `${name} (${pid})`);
  }

  /** Starts one more process of a service; returns what ends it. */
  async startAnother(name: ServiceName, port: number): Promise<() => Promise<void>> {
    const service = await this.#system.startAnother(name, port, AbortSignal.timeout(30_000));
    const pid = this.born.at(-1)?.pid ?? 0;
    return () => {
      this.ended.add(pid);
      return service.stop();
    };
  }

  /** Sets the processes' clock forward or back by this much; `crm` may differ from the gateway. */
  step(offsetMs: number, crmOffsetMs = offsetMs): void {
    if (!this.#setup.clock) return;
    writeFileSync(this.#clockFile("gateway"), String(offsetMs));
    writeFileSync(this.#clockFile("crm"), String(crmOffsetMs));
  }

  /** Makes a tenant with keys for some users. */
  async tenant(tenantId: string, users: number): Promise<TenantKeys> {
    const admin = { authorization: `Bearer ${this.#known.operator.key}` };
    const create = <Body>(path: string, body: object) => call<Body>(this.gateway + path, { method: "POST", headers: admin, body });
    await create("/api/admin/tenants", { tenantId, name: tenantId });
    const keys: string[] = [];
    for (let user = 1; user <= users; user++) {
      const { key } = await create<{ key: string }>("/api/admin/keys", { tenantId, userId: `user-${user}`, role: "admin", name: "chaos" });
      keys.push(key);
    }
    return { tenantId, schema: `tenant_${tenantId.replaceAll("-", "_")}`, keys };
  }

  get #known(): DemoFile {
    if (!this.#demo) throw new Error("The system has not started");
    return this.#demo;
  }

  #clockFile(name: string): string {
    return join(this.folder, `${name}.clock`);
  }

  async #adjust(name: ServiceName, given: Record<string, string>): Promise<Record<string, string>> {
    const env = { ...given, ...this.#setup[name] };
    if (this.#setup.clock) {
      env.CHAOS_CLOCK = this.#clockFile(name);
      env.NODE_OPTIONS = `--import ${join(import.meta.dirname, "clock.ts")}`;
    }
    const url = new URL(given.DATABASE_URL ?? "");
    if (name === "crm") {
      this.database.targetPort = Number(url.searchParams.get("port"));
      env.DATABASE_URL = this.database.through(url.href);
    }
    if (name === "gateway" && this.cells) {
      this.cells.targetPort = Number(new URL(given.CELLS?.replace("crm=", "") ?? "").port);
      env.CELLS = `crm=http://127.0.0.1:${this.cells.port}`;
    }
    return env;
  }

  /** A small file system for the data; logs stay outside, since in production they go elsewhere too. Throws a sentence where mounting is not allowed. */
  #makeDisk(): void {
    mkdirSync(this.dataDir);
    if (!this.#setup.diskMb) return;
    try {
      execFileSync("mount", ["-t", "tmpfs", "-o", `size=${this.#setup.diskMb}m,mode=755`, "tmpfs", this.dataDir], { stdio: "pipe" });
    } catch (error) {
      rmSync(this.folder, { recursive: true, force: true });
      throw new CannotHappenHere("a file system of its own cannot be mounted here: it takes root, and the right to mount", {
        cause: error,
      });
    }
    mkdirSync(join(this.folder, "logs"));
    symlinkSync(join(this.folder, "logs"), join(this.dataDir, "logs"));
  }
}

/** A fault that this machine does not allow; reported as not tried. */
export class CannotHappenHere extends Error {}
