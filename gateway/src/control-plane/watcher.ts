import type { Logger } from "@cell/http";
import { requireServedVersion, UnusableDatabase } from "@cell/postgres/versions";
import { CompiledQuery, sql } from "kysely";
import type { CellConfig } from "../config.ts";
import { type ControlDb, change } from "./tables.ts";

const pollMs = 1_000;
/** Time without a response after which the database counts as unreachable. */
const awayMs = 3_000;

/** Watches the control plane's revision, so that every gateway process notices others' changes within seconds. */
export class ControlPlane {
  readonly #db: ControlDb;
  readonly #cells: readonly CellConfig[];
  readonly #changed: () => void;
  readonly #log: Logger;
  #timer: NodeJS.Timeout | undefined;
  #registered = false;
  #unusable: UnusableDatabase | undefined;
  #revision: number | undefined;
  #seenAtMs = Number.NEGATIVE_INFINITY;
  #stopped = false;

  /** `changed` is called after any change in the control plane. */
  constructor(db: ControlDb, cells: readonly CellConfig[], changed: () => void, log: Logger) {
    this.#db = db;
    this.#cells = cells;
    this.#changed = changed;
    this.#log = log;
  }

  /** True while the database responds. */
  get reachable(): boolean {
    return performance.now() - this.#seenAtMs < awayMs;
  }

  /**
   * Resolves after the first check, also if the database is not reachable; then it checks every second. Rejects with an UnusableDatabase.
   */
  async start(): Promise<void> {
    await this.#look();
    if (this.#unusable) throw this.#unusable;
  }

  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
  }

  async #look(): Promise<void> {
    try {
      if (!this.#registered) {
        await requireServedVersion({ query: (text) => this.#db.executeQuery(CompiledQuery.raw(text)) });
        await this.#register();
      }
      await this.#compare();
    } catch (error) {
      if (error instanceof UnusableDatabase) this.#unusable = error;
      else this.#log.warn({ err: error }, "the control plane's database does not respond");
    }
    if (!this.#stopped) this.#timer = setTimeout(() => this.#look(), pollMs).unref();
  }

  async #compare(): Promise<void> {
    const { revision } = await this.#db.selectFrom("gateway.revision").select("revision").executeTakeFirstOrThrow();
    this.#seenAtMs = performance.now();
    if (revision === this.#revision) return;
    this.#revision = revision;
    this.#changed();
  }

  /** Saves the addresses of the configured cells; only differences count as a change. */
  async #register(): Promise<void> {
    const wanted = this.#cells.flatMap(({ name, urls }) =>
      urls.map((url, index) => ({ cell: name, partition: `${name}-${index + 1}`, url })),
    );
    const known = await this.#db.selectFrom("gateway.partitions").selectAll().execute();
    const same = (a: (typeof wanted)[number]) => known.some((b) => a.cell === b.cell && a.partition === b.partition && a.url === b.url);
    const missing = wanted.filter((partition) => !same(partition));
    if (missing.length > 0) {
      await change(this.#db, (tx) =>
        tx
          .insertInto("gateway.partitions")
          .values(missing)
          .onConflict((conflict) => conflict.columns(["cell", "partition"]).doUpdateSet({ url: sql`excluded.url` }))
          .execute(),
      );
    }
    this.#registered = true;
  }
}
