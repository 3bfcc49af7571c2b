import { notFound, Problem } from "@cell/problem";
import type pg from "pg";
import type { Registry } from "../registry.ts";
import { schemaOf, type TenantState } from "../tenants.ts";
import { type Digest, digestOf } from "./digest.ts";
import { exportRows, type TransferOptions } from "./export.ts";
import { type DeferredKeys, deferKeys, unsettledKeys } from "./keys.ts";
import { loadRows, type Part } from "./rows.ts";
import { awaitWriters, restoreRights, type SuspendedRights, suspendReads, suspendWrites } from "./suspend-constraints.ts";
import { qualified, type SequenceState, tablesOf } from "./tables.ts";

/** A tenant in the registry of one partition. */
export interface Placed {
  tenantId: string;
  state: TenantState;
  epoch: number;
  version: number;
}

interface PlacedRow extends Placed {
  held: Partial<SuspendedRights & DeferredKeys> | null;
}

/** How long a pause waits for running write transactions. */
const writersPatienceMs = 10_000;
const lockTimeoutMs = 5_000;

/**
 * A partition's part in moving tenants. Every step names the move's number, the epoch: a late step of an earlier move is rejected. The
 * states are in the registry, so that they survive the process, and the database itself denies reads and writes.
 */
export class Placement {
  readonly #registry: Registry;

  constructor(registry: Registry) {
    this.#registry = registry;
  }

  /** Throws NOT_FOUND. */
  async inspect(tenantId: string): Promise<Placed> {
    return this.#with("look", async (client) => {
      const { held: _, ...placed } = await this.#row(client, tenantId);
      return placed;
    });
  }

  /** Denies new writers; resolves when the last one has ended. Rejects with UNAVAILABLE, and nothing changed, if one takes too long. */
  async pause(tenantId: string, epoch: number): Promise<void> {
    const schema = schemaOf(tenantId);
    await this.#with("pause", async (client) => {
      await this.#change(client, tenantId, epoch, ["active", "paused"], async (row) => {
        if (row.state === "paused") return row;
        return { state: "paused", held: { writes: await suspendWrites(client, schema) } };
      });
      try {
        await awaitWriters(client, schema, writersPatienceMs);
      } catch (error) {
        await this.#resume(client, tenantId, epoch);
        throw error;
      }
    });
  }

  /** Allows writers again; idempotent. */
  async resume(tenantId: string, epoch: number): Promise<void> {
    await this.#with("resume", (client) => this.#resume(client, tenantId, epoch));
  }

  /** Marks the tenant as served elsewhere: its copy here is kept, and nothing can access it. */
  async detach(tenantId: string, epoch: number): Promise<void> {
    await this.#with("leave", (client) =>
      this.#change(client, tenantId, epoch, ["paused", "moved"], async (row) => {
        if (row.state === "moved") return row;
        await suspendReads(client, schemaOf(tenantId));
        return { state: "moved", held: null };
      }),
    );
  }

  /** Prepares an empty schema for a tenant, in place of a copy that an earlier move left. CONFLICT if the tenant is served here. */
  async attach(tenantId: string, epoch: number, version: number): Promise<void> {
    if (version > this.#registry.version)
      throw new Problem(
        "CONFLICT",
        `The copy is of version ${version}, and this partition knows ${this.#registry.version}: upgrade it first`,
      );
    await this.discard(tenantId, epoch);
    const schema = schemaOf(tenantId);
    await this.#with("arrive", (client) =>
      inTransaction(client, async () => {
        await this.#registry.makeArriving(client, tenantId, epoch, version);
        const tables = await tablesOf(client, schema);
        await client.query(`truncate ${tables.map(({ table }) => qualified(schema, table)).join(", ")}`);
        const keys = await deferKeys(client, schema);
        const rights = { writes: await suspendWrites(client, schema), reads: await suspendReads(client, schema) };
        await this.#save(client, tenantId, { state: "arriving", epoch, held: { ...keys, ...rights } });
      }),
    );
  }

  /** Loads rows of an arriving tenant; each call is a transaction. */
  async load(tenantId: string, epoch: number, part: Part): Promise<void> {
    await this.#arriving(tenantId, epoch, async (client) => {
      await loadRows(client, schemaOf(tenantId), part);
    });
  }

  /** Creates the indexes once most rows are loaded. */
  async index(tenantId: string, epoch: number): Promise<void> {
    await this.#arriving(tenantId, epoch, async (client, row) => {
      await client.query("set local maintenance_work_mem = '256MB'");
      await restoreRights(client, row.held?.indexes ?? []);
      for (const { table } of await tablesOf(client, schemaOf(tenantId)))
        await client.query(`analyze ${qualified(schemaOf(tenantId), table)}`);
      await this.#save(client, tenantId, { ...row, held: { ...row.held, indexes: [] } });
    });
  }

  /** Validates the foreign keys once the tenant is served: the rows come from a place where they held. */
  async finalize(tenantId: string): Promise<void> {
    await this.#with("settle", async (client) => restoreRights(client, await unsettledKeys(client, schemaOf(tenantId))));
  }

  /** After the last row: creates the remaining keys, sets the sequences, and lets readers see the tenant. */
  async complete(tenantId: string, epoch: number, sequences: readonly SequenceState[]): Promise<void> {
    const schema = schemaOf(tenantId);
    await this.#arriving(tenantId, epoch, async (client, row) => {
      const { indexes = [], foreignKeys = [], reads = [], writes = [] } = row.held ?? {};
      await restoreRights(client, [...indexes, ...foreignKeys.map((key) => `${key} not valid`), ...reads]);
      for (const { sequence, lastValue, isCalled } of sequences)
        await client.query("select setval($1::regclass, $2::bigint, $3)", [qualified(schema, sequence), lastValue, isCalled]);
      await this.#save(client, tenantId, { state: "arrived", epoch, held: { writes } });
    });
  }

  /** Drops a copy that is not served: a partial one or one that was left. CONFLICT for any other; idempotent. */
  async discard(tenantId: string, epoch: number): Promise<void> {
    const row = await this.inspect(tenantId).catch((error) => {
      if (error instanceof Problem && error.code === "NOT_FOUND") return undefined;
      throw error;
    });
    if (!row) return;
    requireEpoch(row, epoch);
    if (row.state === "active" || row.state === "paused") throw new Problem("CONFLICT", `This partition serves ${tenantId}`);
    await this.#registry.drop(tenantId);
  }

  /** Digest of the tenant's data: see `digestOf`. */
  digest(tenantId: string, since?: string): Promise<Digest> {
    return this.#with("digest", async (client) => {
      const { version } = await this.#row(client, tenantId);
      await client.query("begin transaction isolation level repeatable read read only");
      return digestOf(client, schemaOf(tenantId), version, since);
    });
  }

  /** The tenant's rows: see `exportRows`. If the consumer leaves early, the connection is closed. */
  async *rows(tenantId: string, options: Pick<TransferOptions, "since" | "tables" | "digest">): AsyncGenerator<Buffer> {
    const client = await this.#registry.openOwner("transfer");
    try {
      const { version } = await this.#row(client, tenantId);
      yield* exportRows(client, { tenantId, schema: schemaOf(tenantId), cell: this.#registry.cell, version, ...options });
    } finally {
      await client.end();
    }
  }

  async #resume(client: pg.Client, tenantId: string, epoch: number): Promise<void> {
    await this.#change(client, tenantId, epoch, ["active", "paused", "arrived"], async (row) => {
      if (row.state === "active") return row;
      await restoreRights(client, row.held?.writes ?? []);
      return { state: "active", held: null };
    });
  }

  /** One transaction on an arriving tenant. */
  async #arriving(tenantId: string, epoch: number, work: (client: pg.Client, row: PlacedRow) => Promise<void>): Promise<void> {
    await this.#with("arrival", (client) =>
      inTransaction(client, async () => {
        const row = await this.#row(client, tenantId, "for update");
        requireEpoch(row, epoch);
        if (row.state !== "arriving") throw new Problem("CONFLICT", `${tenantId} is not arriving here, but ${row.state}`);
        await work(client, row);
      }),
    );
    await this.#registry.refresh(tenantId);
  }

  async #change(
    client: pg.Client,
    tenantId: string,
    epoch: number,
    from: readonly TenantState[],
    work: (row: PlacedRow) => Promise<Pick<PlacedRow, "state" | "held">>,
  ): Promise<void> {
    await inTransaction(client, async () => {
      const row = await this.#row(client, tenantId, "for update");
      requireEpoch(row, epoch);
      if (!from.includes(row.state)) throw new Problem("CONFLICT", `${tenantId} is ${row.state} here`);
      const { state, held } = await work(row);
      await this.#save(client, tenantId, { state, held, epoch });
    });
    await this.#registry.refresh(tenantId);
  }

  async #row(client: pg.Client, tenantId: string, lock: "for update" | "" = ""): Promise<PlacedRow> {
    const { rows } = await client.query<PlacedRow>(
      `select tenant_id as "tenantId", state, epoch, version, held from ${this.#registry.cell}.tenants where tenant_id = $1 ${lock}`,
      [tenantId],
    );
    const [row] = rows;
    if (!row) throw notFound("Tenant");
    return row;
  }

  async #save(client: pg.Client, tenantId: string, { state, epoch, held }: Pick<PlacedRow, "state" | "epoch" | "held">): Promise<void> {
    await client.query(`update ${this.#registry.cell}.tenants set state = $2, epoch = $3, held = $4 where tenant_id = $1`, [
      tenantId,
      state,
      epoch,
      held === null ? null : JSON.stringify(held),
    ]);
  }

  async #with<T>(purpose: string, work: (client: pg.Client) => Promise<T>): Promise<T> {
    const client = await this.#registry.openOwner(purpose);
    try {
      await client.query(`set lock_timeout = ${lockTimeoutMs}`);
      return await work(client);
    } finally {
      await client.end();
    }
  }
}

/** Rejects a late step of an earlier move. */
function requireEpoch(row: Placed, epoch: number): void {
  if (epoch < row.epoch) throw new Problem("CONFLICT", `Move ${epoch} of ${row.tenantId} is over: move ${row.epoch} has begun`);
}

async function inTransaction(client: pg.Client, work: () => Promise<void>): Promise<void> {
  await client.query("begin");
  try {
    await work();
    await client.query("commit");
  } catch (error) {
    // A lost connection has rolled back already.
    await client.query("rollback").catch(() => undefined);
    throw error;
  }
}
