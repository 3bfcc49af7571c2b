import { type CellDeclaration, type Logger, parseDeclaration } from "@cell/http";
import { sql } from "kysely";
import type { CellConfig } from "../config.ts";
import type { ControlDb } from "../control-plane/tables.ts";
import { RoutePolicies } from "../proxy/route-policy.ts";
import type { CellClient } from "./cell-client.ts";

/** Polling interval of partitions with a known declaration, and without. */
const knownIntervalMs = 10_000;
const unknownIntervalMs = 1_000;
/** A request may ask for an unknown declaration at once, this long after the last request did. */
const onDemandIntervalMs = 100;

/** What the gateway knows of a cell's declaration. */
export interface DeclaredCell {
  /** False while no partition was ever reached: its roles and routes are unknown. */
  isKnown: boolean;
  policies: RoutePolicies;
}

interface Partition {
  cell: string;
  /** As in the control plane's table: `<cell>-<number>`. */
  name: string;
  url: string;
  /** As received; undefined while unknown. */
  text: string | undefined;
  declaration: CellDeclaration | undefined;
  askAtMs: number;
  /** The last fault, so that it is logged once. */
  fault: string;
}

/** The declaration of a cell that serves none: all its routes are closed. */
const emptyDeclaration: CellDeclaration = { permissions: [], roles: {}, routes: [] };

export interface DeclarationsOptions {
  cells: readonly CellConfig[];
  db: ControlDb;
  client: CellClient;
  log: Logger;
  /** Called with every cell's declaration after any of them has changed. */
  changed(declarations: ReadonlyMap<string, CellDeclaration>): void;
}

/**
 * The cells' declarations. Each partition is polled; the control plane's database stores the last ones, for a gateway that starts while a
 * cell is not reachable. While several versions run, a route counts as soon as one partition has it, with the policy of the first such
 * partition.
 */
export class CellDeclarations {
  readonly #options: DeclarationsOptions;
  readonly #partitions: readonly Partition[];
  #cells: ReadonlyMap<string, DeclaredCell> = new Map();
  #timer: NodeJS.Timeout | undefined;
  #stopped = false;
  /** The last question by a request, of each cell. */
  readonly #onDemand = new Map<string, { atMs: number; asked: Promise<void> }>();

  constructor(options: DeclarationsOptions) {
    this.#options = options;
    this.#partitions = options.cells.flatMap(({ name, urls }) =>
      urls.map((url, index) => ({
        cell: name,
        name: `${name}-${index + 1}`,
        url,
        text: undefined,
        declaration: undefined,
        askAtMs: 0,
        fault: "",
      })),
    );
    this.#publish();
  }

  /** Undefined for a cell that is not configured. */
  get(cell: string): DeclaredCell | undefined {
    return this.#cells.get(cell);
  }

  /** Asks the partitions of a cell whose declaration is unknown, since a request cannot wait for the next poll. Never rejects. */
  askNow(cell: string): Promise<void> {
    const last = this.#onDemand.get(cell);
    const nowMs = performance.now();
    if (last && nowMs - last.atMs < onDemandIntervalMs) return last.asked;
    const asked = this.#ask(this.#partitions.filter((partition) => partition.cell === cell && partition.declaration === undefined));
    this.#onDemand.set(cell, { atMs: nowMs, asked });
    return asked;
  }

  /** Resolves when the stored declarations are read and partitions without one were asked once; never rejects. */
  async start(): Promise<void> {
    await this.#load();
    await this.#ask(this.#partitions.filter(({ declaration }) => declaration === undefined));
    this.#schedule();
  }

  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
  }

  #schedule(): void {
    if (this.#stopped) return;
    this.#timer = setTimeout(async () => {
      const nowMs = performance.now();
      await this.#ask(this.#partitions.filter(({ askAtMs }) => askAtMs <= nowMs));
      this.#schedule();
    }, unknownIntervalMs).unref();
  }

  async #load(): Promise<void> {
    const { db, log } = this.#options;
    try {
      const rows = await db.selectFrom("gateway.cellDeclarations").select(["cell", "partition", "declaration"]).execute();
      for (const partition of this.#partitions) {
        const row = rows.find(({ cell, partition: name }) => cell === partition.cell && name === partition.name);
        if (row) this.#take(partition, row.declaration);
      }
      this.#publish();
    } catch (error) {
      log.warn({ err: error }, "the stored declarations of the cells cannot be read");
    }
  }

  async #ask(partitions: readonly Partition[]): Promise<void> {
    if (partitions.length === 0) return;
    const changes = await Promise.all(partitions.map((partition) => this.#askOne(partition)));
    if (changes.some((change) => change)) this.#publish();
  }

  /** Returns whether the partition's declaration has changed. */
  async #askOne(partition: Partition): Promise<boolean> {
    const { client, log } = this.#options;
    try {
      const text = await client.declaration(partition);
      partition.askAtMs = performance.now() + knownIntervalMs;
      if (partition.declaration && (text === undefined || text === partition.text)) return false;
      this.#take(partition, text);
      if (text !== undefined) await this.#store(partition, text);
      log.info({ partition: partition.name, isDeclared: text !== undefined }, "a cell's declaration was read");
      return true;
    } catch (error) {
      if (partition.declaration === undefined) partition.askAtMs = 0;
      const fault = (error as Error).message;
      if (fault !== partition.fault) log.warn({ partition: partition.name, err: error }, "a cell's declaration cannot be read");
      partition.fault = fault;
      return false;
    }
  }

  #take(partition: Partition, text: string | undefined): void {
    if (text === undefined) {
      partition.declaration = emptyDeclaration;
      return;
    }
    const { declaration, faults } = parseDeclaration(JSON.parse(text));
    for (const fault of faults) this.#options.log.error({ partition: partition.name, fault }, "a part of a cell's declaration is rejected");
    partition.text = text;
    partition.declaration = declaration;
    partition.fault = "";
  }

  async #store({ cell, name, url: _url }: Partition, declaration: string): Promise<void> {
    await this.#options.db
      .insertInto("gateway.cellDeclarations")
      .values({ cell, partition: name, declaration })
      .onConflict((conflict) =>
        conflict.columns(["cell", "partition"]).doUpdateSet({ declaration: sql`excluded.declaration`, changedAt: sql`now()` }),
      )
      .execute()
      .catch((error) => this.#options.log.warn({ err: error, partition: name }, "a cell's declaration was not stored"));
  }

  #publish(): void {
    const declarations = new Map<string, CellDeclaration>();
    const cells = new Map<string, DeclaredCell>();
    for (const { name } of this.#options.cells) {
      const declared = this.#partitions.flatMap(({ cell, declaration }) => (cell === name && declaration ? [declaration] : []));
      const [first = emptyDeclaration] = declared;
      const routes = declared.flatMap((declaration) => declaration.routes);
      declarations.set(name, { ...first, routes });
      cells.set(name, { isKnown: declared.length > 0, policies: new RoutePolicies(routes) });
    }
    this.#cells = cells;
    this.#options.changed(declarations);
  }
}
