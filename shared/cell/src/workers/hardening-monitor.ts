import { Gauge, type Logger, type Registry as Metrics } from "@cell/http";
import type { Registry } from "@cell/postgres";
import { type Background, repeat } from "./repeat.ts";

/** A superuser may revoke them at any time. */
const everyMs = 5 * 60_000;

/** Checks periodically which dangerous functions the database lets the tenants' logins use. */
export class HardeningMonitor {
  readonly #registry: Pick<Registry, "unrevokedFunctions">;
  readonly #log: Logger;
  readonly #gauge = new Gauge({
    name: "cell_open_doors",
    help: "Functions and views that every database login may use although they reach beyond a tenant's bounds; 0 after bootstrap.sql",
    registers: [],
  });
  #count = 0;
  #background: Background | undefined;

  constructor(registry: Pick<Registry, "unrevokedFunctions">, log: Logger) {
    this.#registry = registry;
    this.#log = log;
  }

  /** As of the last check. */
  get count(): number {
    return this.#count;
  }

  register(metrics: Metrics): void {
    metrics.registerMetric<string>(this.#gauge);
  }

  async inspect(): Promise<void> {
    this.#count = (await this.#registry.unrevokedFunctions()).length;
    this.#gauge.set(this.#count);
  }

  start(): void {
    this.#background = repeat(everyMs, () => this.inspect(), this.#log, "checking for unrevoked functions");
  }

  async stop(): Promise<void> {
    await this.#background?.stop();
  }
}
