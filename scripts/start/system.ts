import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { sendSignal } from "@cell/postgres/embedded/process";
import { build, fileOf } from "../build.ts";
import { type Database, openDatabase } from "./database.ts";
import { type DemoFile, ensureDemo, retireDemoFile, writeDemoFile } from "./demo.ts";
import { endLeftovers, recordPids } from "./lock.ts";
import { openPartitions, type Partition } from "./partitions.ts";
import { keepSecrets, type Secrets } from "./secrets.ts";
import { runStep, type Service, startService } from "./service.ts";
import { checkPorts, type Settings } from "./settings.ts";

export type ServiceName = "gateway" | "crm";

/** Overrides of the system that `npm start` runs, for tests. */
export interface SystemOptions {
  /** Replaces a service's environment before it starts. */
  adjust?(name: ServiceName, env: Record<string, string>): Promise<Record<string, string>>;
  /** Receives each process id of a service, the first one included. */
  onPid?(name: ServiceName, pid: number): void;
}

/** The whole of Cell CRM on one machine: PostgreSQL, gateway and cells as separate processes. */
export class System {
  readonly #settings: Settings;
  readonly #log: (line: string) => void;
  readonly #logDir: string;
  readonly #services: Record<string, Service> = {};
  readonly #pids: Record<string, number> = {};
  readonly #environments: Partial<Record<ServiceName, Record<string, string>>> = {};
  readonly #options: SystemOptions;
  #database: Database | undefined;
  /** From the second one on. */
  readonly #partitions: Partition[] = [];
  #demoFile: DemoFile | undefined;

  constructor(settings: Settings, log: (line: string) => void, options: SystemOptions = {}) {
    this.#settings = settings;
    this.#options = options;
    this.#log = log;
    this.#logDir = join(settings.dataDir, "logs");
  }

  /** Resolves when everything is ready and demo.json is written. Rejects with a sentence; call `stop()` in either case. */
  async start(signal: AbortSignal): Promise<DemoFile> {
    const { dataDir } = this.#settings;
    mkdirSync(this.#logDir, { recursive: true, mode: 0o700 });
    retireDemoFile(dataDir);
    const secrets = keepSecrets(dataDir);
    await endLeftovers(dataDir, this.#log);
    await checkPorts(this.#settings);
    await build(undefined, this.#log);
    this.#database = await openDatabase(this.#settings, secrets, this.#log, () => this.#record());
    for await (const partition of openPartitions(this.#settings, secrets, this.#log, () => this.#record()))
      this.#partitions.push(partition);
    signal.throwIfAborted();
    await this.#startServices(this.#database, secrets, signal);

    const urls = this.#urls();
    const tenants = this.#settings.demo ? await ensureDemo(dataDir, urls.gateway, secrets.operatorKey, this.#log, signal) : {};
    const cells = { crm: urls.crm, ...Object.fromEntries(this.#partitions.map(({ name, url }) => [name, url])) };
    const programs = Object.entries({ gateway: urls.gateway, ...cells });
    this.#demoFile = {
      gateway: urls.gateway,
      cells,
      metrics: { ...Object.fromEntries(programs.map(([name, url]) => [name, `${url}/metrics`])), token: secrets.metricsToken },
      database: this.#database.url,
      pids: {},
      operator: { key: secrets.operatorKey },
      tenants,
    };
    this.#record();
    return this.#demoFile;
  }

  /** Starts another process of a service on another port, as a rolling restart does. Resolves when it is ready; the caller stops it. */
  async startAnother(name: ServiceName, port: number, signal: AbortSignal): Promise<Service> {
    const another = startService({
      name: `${name}-${port}`,
      script: fileOf(name),
      env: { ...this.#environments[name], PORT: String(port) },
      url: `http://127.0.0.1:${port}`,
      logDir: this.#logDir,
      log: this.#log,
      onPid: (pid) => this.#options.onPid?.(name, pid),
    });
    await another.ready(signal);
    return another;
  }

  /** The gateway first, so that accepted requests still get their responses; PostgreSQL last. */
  async stop(): Promise<void> {
    const { gateway, ...cells } = this.#services;
    await gateway?.stop();
    await Promise.all(Object.values(cells).map((cell) => cell.stop()));
    await Promise.all([this.#database?.embedded?.stop(), ...this.#partitions.map(({ database }) => database.stop())]);
    this.#demoFile = undefined;
    retireDemoFile(this.#settings.dataDir);
  }

  /** Ends everything at once; PostgreSQL recovers at the next start. */
  kill(): void {
    for (const service of Object.values(this.#services)) service.kill();
    for (const embedded of [this.#database?.embedded, ...this.#partitions.map(({ database }) => database)])
      if (embedded) sendSignal(embedded.pid, "SIGQUIT");
  }

  #urls(): Record<"gateway" | "crm", string> {
    const { host, gatewayPort, crmPort } = this.#settings;
    const reachable = host === "0.0.0.0" || host === "::" ? "127.0.0.1" : host;
    const written = reachable.includes(":") ? `[${reachable}]` : reachable;
    return { gateway: `http://${written}:${gatewayPort}`, crm: `http://127.0.0.1:${crmPort}` };
  }

  async #startServices(database: Database, secrets: Secrets, signal: AbortSignal): Promise<void> {
    const { host, gatewayPort, crmPort, dataDir, logLevel, rateLimits } = this.#settings;
    const common = {
      ASSERTION_KEYS: secrets.assertionKeys,
      METRICS_PORT: "",
      METRICS_TOKEN: secrets.metricsToken,
      LOG_LEVEL: logLevel,
      // Saves each process the time to compile its programs.
      NODE_COMPILE_CACHE: join(dataDir, "compile-cache"),
    };
    const gatewayEnv = {
      ...common,
      HOST: host,
      PORT: String(gatewayPort),
      DATABASE_URL: database.urls.gateway,
      OPERATOR_KEY: secrets.operatorKey,
      CELLS: [this.#urls().crm, ...this.#partitions.map(({ url }) => url)].map((url) => `crm=${url}`).join(),
      RATE_LIMIT_TOKEN: rateLimits.token,
      RATE_LIMIT_TENANT: rateLimits.tenant,
    };
    const crmEnv = {
      ...common,
      HOST: "127.0.0.1",
      PORT: String(crmPort),
      DATABASE_URL: database.urls.crm,
      TENANT_LOGIN_SECRET: secrets.tenantLoginSecret,
      SEAL_KEY: secrets.sealKey,
      SEAL_LOG: join(dataDir, "seals.jsonl"),
      WEBHOOK_KEYS: secrets.webhookKeys,
    };
    const failed = new AbortController();
    const either = AbortSignal.any([signal, failed.signal]);
    const gateway = this.#startService("gateway", gatewayEnv, either);
    const crm = this.#startService("crm", crmEnv, either);
    const others = this.#partitions.map(({ name, port, url, folder, databaseUrl }) => {
      const own = { PORT: String(port), DATABASE_URL: databaseUrl, SEAL_LOG: join(folder, "seals.jsonl") };
      return this.#run(name, "crm", url, { ...crmEnv, ...own }, either);
    });
    const outcomes = [gateway, crm, ...others].map((started) => started.catch((error) => failed.abort(error)));
    await Promise.all(outcomes);
    // Only the first failure counts: it interrupted the other service.
    either.throwIfAborted();
  }

  async #startService(name: ServiceName, given: Record<string, string>, signal: AbortSignal): Promise<void> {
    const env = (await this.#options.adjust?.(name, given)) ?? given;
    this.#environments[name] = env;
    await this.#run(name, name, this.#urls()[name], env, signal);
  }

  async #run(name: string, service: ServiceName, url: string, env: Record<string, string>, signal: AbortSignal): Promise<void> {
    this.#log(`${name}: migrating its database.`);
    await runStep(`${name}-migrate`, fileOf(`${service}-migrate`), env, this.#logDir, signal);
    this.#log(`${name}: starting.`);
    const started = startService({
      name,
      script: fileOf(service),
      env,
      url,
      logDir: this.#logDir,
      log: this.#log,
      onPid: (pid) => {
        this.#pids[name] = pid;
        this.#options.onPid?.(service, pid);
        this.#record();
      },
    });
    this.#services[name] = started;
    await started.ready(signal);
  }

  #record(): void {
    recordPids(this.#settings.dataDir, this.#pids);
    if (!this.#demoFile) return;
    const servers = this.#partitions.map(({ name, database }) => [name.replace("crm", "postgres"), database.pid]);
    this.#demoFile.pids = { ...this.#pids, postgres: this.#database?.embedded?.pid ?? null, ...Object.fromEntries(servers) };
    writeDemoFile(this.#settings.dataDir, this.#demoFile);
  }
}
