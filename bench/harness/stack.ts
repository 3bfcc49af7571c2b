import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { parseAssertionKeys } from "@cell/http";
import { bootstrapDatabase, type ProgramUrls } from "@cell/postgres/bootstrap";
import { type Embedded, startEmbedded } from "@cell/postgres/embedded";
import { schemaOf, tenantLogin } from "@cell/postgres/tenants";
import pg from "pg";
import { build, fileOf } from "../../scripts/build.ts";
import { endLeftovers, recordPids } from "../../scripts/start/lock.ts";
import { keepSecrets, rolePasswords, type Secrets } from "../../scripts/start/secrets.ts";
import { runStep, type Service, startService } from "../../scripts/start/service.ts";
import type { Config } from "../config.ts";
import type { Pids } from "./processes.ts";

export type ServiceName = "gateway" | "crm" | "echo";

const scripts: Record<ServiceName, string> = { gateway: fileOf("gateway"), crm: fileOf("crm"), echo: "bench/harness/echo.ts" };

/** Rate limits count each request and reject none. */
const rateLimits = { RATE_LIMIT_TOKEN: "1000000", RATE_LIMIT_TENANT: "1000000" };

/** The product as a user runs it: PostgreSQL, gateway and cell as separate processes; and the echo cell. */
export class Stack {
  readonly config: Config;
  readonly secrets: Secrets;
  /** For preparation and inspection: no program connects as a superuser. */
  readonly superuser: pg.Pool;
  readonly #urls: ProgramUrls;
  readonly #embedded: Embedded;
  readonly #services: Partial<Record<ServiceName, Service>> = {};
  readonly #pids: Record<string, number> = {};
  readonly #log: (line: string) => void;

  private constructor(config: Config, secrets: Secrets, embedded: Embedded, urls: ProgramUrls, log: (line: string) => void) {
    this.config = config;
    this.secrets = secrets;
    this.#embedded = embedded;
    this.#urls = urls;
    this.#log = log;
    this.superuser = new pg.Pool({ connectionString: embedded.socketUrl, max: 4, options: "-c timezone=UTC" });
    // A lost connection fails the query that uses it.
    this.superuser.on("error", () => undefined);
  }

  /** Starts everything; the caller must call `stop()`. Rejects with a sentence. */
  static async start(config: Config, log: (line: string) => void): Promise<Stack> {
    mkdirSync(join(config.dataDir, "logs"), { recursive: true });
    await endLeftovers(config.dataDir, log);
    await build();
    const secrets = keepSecrets(config.dataDir);
    const embedded = await startEmbedded({ dataDir: config.dataDir, port: config.ports.postgres, log });
    const urls = await bootstrapDatabase({ url: embedded.socketUrl, passwords: rolePasswords(secrets) });
    const stack = new Stack(config, secrets, embedded, urls, log);
    try {
      for (const name of ["gateway", "crm"] as const) await stack.migrate(name);
      for (const name of ["echo", "crm", "gateway"] as const) await stack.run(name);
    } catch (error) {
      await stack.stop();
      throw error;
    }
    return stack;
  }

  get gateway(): string {
    return this.#url("gateway");
  }

  get crm(): string {
    return this.#url("crm");
  }

  get echo(): string {
    return this.#url("echo");
  }

  /** Through the unix socket, as the cell's owner. */
  get databaseUrl(): string {
    return this.#urls.crm;
  }

  get postgresLog(): string {
    return join(this.#logDir, "postgres.log");
  }

  get assertionKeys() {
    return parseAssertionKeys(this.secrets.assertionKeys);
  }

  /** The database by a tenant's own login. */
  urlOf(tenantId: string): string {
    const { user, password } = tenantLogin(schemaOf(tenantId), this.secrets.tenantLoginSecret);
    return Object.assign(new URL(this.databaseUrl), { username: user, password }).href;
  }

  /** Another database of the server, as a superuser. */
  superuserUrlOf(database: string): string {
    return Object.assign(new URL(this.#embedded.socketUrl), { pathname: `/${database}` }).href;
  }

  /** The processes of these names, PostgreSQL always among them. */
  pids(...names: ServiceName[]): Pids {
    const wanted = names.map((name) => [name, this.#pids[name] ?? 0] as const);
    return { ...Object.fromEntries(wanted), postgres: this.#embedded.pid };
  }

  /** Migrates a service's database, which is a separate step in production too. */
  async migrate(name: "gateway" | "crm", env: Record<string, string> = {}): Promise<void> {
    await runStep(
      `${name}-migrate`,
      fileOf(`${name}-migrate`),
      { ...this.#environment(name), ...env },
      this.#logDir,
      AbortSignal.timeout(600_000),
    );
  }

  /** Starts or restarts a service with the given settings. */
  async run(name: ServiceName, env: Record<string, string> = {}): Promise<void> {
    await this.#services[name]?.stop();
    const service = startService({
      name,
      script: scripts[name],
      env: { ...this.#environment(name), ...env },
      url: this.#url(name),
      logDir: this.#logDir,
      log: this.#log,
      onPid: (pid) => this.record(name, pid),
    });
    this.#services[name] = service;
    await service.ready(AbortSignal.timeout(60_000));
  }

  /** Records a process, so that the next run ends it if this one is killed. */
  record(name: string, pid: number): void {
    this.#pids[name] = pid;
    recordPids(this.config.dataDir, this.#pids);
  }

  /** What a service is started with. */
  environment(name: ServiceName): Record<string, string> {
    return this.#environment(name);
  }

  async halt(name: ServiceName): Promise<void> {
    await this.#services[name]?.stop();
    delete this.#services[name];
  }

  async stop(): Promise<void> {
    for (const name of ["gateway", "crm", "echo"] as const) await this.halt(name);
    await this.superuser.end();
    await this.#embedded.stop();
  }

  get #logDir(): string {
    return join(this.config.dataDir, "logs");
  }

  #url(name: ServiceName): string {
    return `http://127.0.0.1:${this.config.ports[name]}`;
  }

  #environment(name: ServiceName): Record<string, string> {
    const { secrets, config } = this;
    const { dataDir, ports } = config;
    const profiles = join(config.dir, "profiles", name);
    const common = {
      HOST: "127.0.0.1",
      PORT: String(ports[name]),
      LOG_LEVEL: "info",
      ASSERTION_KEYS: secrets.assertionKeys,
      METRICS_PORT: "",
      METRICS_TOKEN: secrets.metricsToken,
      NODE_COMPILE_CACHE: join(dataDir, "compile-cache"),
      ...(config.profile ? { NODE_OPTIONS: `--cpu-prof --cpu-prof-dir=${profiles}` } : {}),
    };
    const cells = `crm=${this.#url("crm")},echo=${this.#url("echo")}`;
    switch (name) {
      case "gateway":
        return { ...common, ...rateLimits, DATABASE_URL: this.#urls.gateway, OPERATOR_KEY: secrets.operatorKey, CELLS: cells };
      case "crm":
        return {
          ...common,
          DATABASE_URL: this.databaseUrl,
          TENANT_LOGIN_SECRET: secrets.tenantLoginSecret,
          SEAL_KEY: secrets.sealKey,
          SEAL_LOG: join(dataDir, "seals.jsonl"),
          WEBHOOK_KEYS: secrets.webhookKeys,
        };
      case "echo":
        return common;
    }
  }
}
