import { type Selectable, sql } from "kysely";
import { type ControlDb, type ControlTx, change, type MovesTable, runningStates } from "../control-plane/tables.ts";
import type { PartitionAddress } from "../upstream/cell-client.ts";

export type Move = Selectable<MovesTable>;
type State = Move["state"];

/** A partition of a cell, by name. */
export interface Partition extends PartitionAddress {
  partition: string;
}

/** A process without a heartbeat for this long counts as dead. */
const abandonedAfter = sql<string>`now() - interval '10 seconds'`;

export function partition(db: ControlDb, cell: string, name: string): Promise<Partition | undefined> {
  return db
    .selectFrom("gateway.partitions")
    .select(["cell", "partition", "url"])
    .where("cell", "=", cell)
    .where("partition", "=", name)
    .executeTakeFirst();
}

/** A tenant's placement in a cell, locked for the transaction. */
export function lockPlacement(tx: ControlTx, tenantId: string, cell: string) {
  return tx
    .selectFrom("gateway.placements")
    .select(["partition", "provisioned"])
    .where("tenantId", "=", tenantId)
    .where("cell", "=", cell)
    .forUpdate()
    .executeTakeFirst();
}

/** Stores a move; undefined if another one of the tenant is running. */
export function insert(
  tx: ControlTx,
  move: Pick<Move, "cell" | "tenantId" | "fromPartition" | "toPartition" | "runner">,
): Promise<Move | undefined> {
  return tx
    .insertInto("gateway.moves")
    .values(move)
    .onConflict((conflict) => conflict.columns(["tenantId", "cell"]).where("state", "in", runningStates).doNothing())
    .returningAll()
    .executeTakeFirst();
}

export function find(db: ControlDb, moveId: number): Promise<Move | undefined> {
  return db.selectFrom("gateway.moves").selectAll().where("moveId", "=", moveId).executeTakeFirst();
}

/** Newest first. */
export async function list(
  db: ControlDb,
  tenantId: string | undefined,
  page: number,
  pageSize: number,
): Promise<{ data: Move[]; total: number }> {
  const wanted = db.selectFrom("gateway.moves").$if(tenantId !== undefined, (query) => query.where("tenantId", "=", tenantId ?? ""));
  const data = await wanted
    .selectAll()
    .orderBy("moveId", "desc")
    .limit(pageSize)
    .offset((page - 1) * pageSize)
    .execute();
  const { total } = await wanted.select(sql<number>`count(*)`.as("total")).executeTakeFirstOrThrow();
  return { data, total };
}

/** Whether a move of the tenant is running. */
export async function isRunning(db: ControlDb, tenantId: string): Promise<boolean> {
  const found = await db
    .selectFrom("gateway.moves")
    .select("moveId")
    .where("tenantId", "=", tenantId)
    .where("state", "in", runningStates)
    .executeTakeFirst();
  return found !== undefined;
}

/** Stores a heartbeat. False: another process has taken over the move. */
export async function beat(db: ControlDb, { moveId, runner }: Move, rows: number): Promise<boolean> {
  const { numUpdatedRows } = await db
    .updateTable("gateway.moves")
    .set({ heartbeatAt: sql`now()`, rows })
    .where("moveId", "=", moveId)
    .where("runner", "=", runner)
    .where("state", "in", runningStates)
    .executeTakeFirst();
  return numUpdatedRows > 0n;
}

/** Lets another process take over a move immediately. */
export async function release(db: ControlDb, { moveId, runner }: Move): Promise<void> {
  await db
    .updateTable("gateway.moves")
    .set({ heartbeatAt: sql`'-infinity'` })
    .where("moveId", "=", moveId)
    .where("runner", "=", runner)
    .where("state", "in", runningStates)
    .execute();
}

/** Assigns the moves of dead processes to `runner`, with new epochs. */
export function takeOver(db: ControlDb, runner: string): Promise<Move[]> {
  return db
    .updateTable("gateway.moves")
    .set({ runner, heartbeatAt: sql`now()`, epoch: sql`nextval('gateway.epochs')` })
    .where("state", "in", runningStates)
    .where("heartbeatAt", "<", abandonedAfter)
    .returningAll()
    .execute();
}

/** Saves the progress of a move. Undefined: another process has it, or it is not in one of these states. */
export function advance(
  db: ControlDb,
  { moveId, runner }: Move,
  from: readonly State[],
  set: Partial<Pick<Move, "state" | "step" | "failure" | "leftover">>,
): Promise<Move | undefined> {
  const { state } = set;
  return (
    db
      .updateTable("gateway.moves")
      .set({ ...set, heartbeatAt: sql`now()` })
      .$if(state === "paused", (query) => query.set({ pausedAt: sql`clock_timestamp()` }))
      // Steps that were sent before and have not arrived are too late from here on.
      .$if(state === "aborting", (query) => query.set({ epoch: sql`nextval('gateway.epochs')` }))
      .$if(state === "done" || state === "failed", (query) => query.set({ finishedAt: sql`now()` }))
      .where("moveId", "=", moveId)
      .where("runner", "=", runner)
      .where("state", "in", from)
      .returningAll()
      .executeTakeFirst()
  );
}

/** Records that writes are allowed again. */
export async function notePauseEnd(db: ControlDb, { moveId }: Move): Promise<void> {
  await db
    .updateTable("gateway.moves")
    .set({ pauseMs: sql`coalesce(pause_ms, 1000 * extract(epoch from clock_timestamp() - paused_at))` })
    .where("moveId", "=", moveId)
    .execute();
}

/** Hands the tenant over to the other partition, for every gateway. Undefined: the move was taken over and must not be flipped. */
export function flip(db: ControlDb, move: Move): Promise<Move | undefined> {
  return change(db, async (tx) => {
    const flipped = await advance(tx, move, ["paused"], { state: "flipped", step: "handing over" });
    if (!flipped) return undefined;
    const { tenantId, cell, fromPartition, toPartition } = move;
    await tx
      .updateTable("gateway.placements")
      .set({ partition: toPartition })
      .where("tenantId", "=", tenantId)
      .where("cell", "=", cell)
      .where("partition", "=", fromPartition)
      .execute();
    // Copies of earlier moves there have been replaced.
    await tx
      .updateTable("gateway.moves")
      .set({ leftover: null })
      .where("tenantId", "=", tenantId)
      .where("cell", "=", cell)
      .where("leftover", "=", toPartition)
      .execute();
    return flipped;
  });
}

/** Partitions with copies of a tenant that are not served. */
export function leftovers(db: ControlDb, tenantId: string): Promise<Partition[]> {
  return db
    .selectFrom("gateway.moves as move")
    .innerJoin("gateway.partitions as partition", (join) =>
      join.onRef("partition.cell", "=", "move.cell").onRef("partition.partition", "=", "move.leftover"),
    )
    .where("move.tenantId", "=", tenantId)
    .select(["partition.cell", "partition.partition", "partition.url"])
    .distinct()
    .execute();
}

/** Records that a partition has no such copy any more. */
export async function forgetLeftover(db: ControlDb, tenantId: string, { cell, partition }: Partition): Promise<void> {
  await db
    .updateTable("gateway.moves")
    .set({ leftover: null })
    .where("tenantId", "=", tenantId)
    .where("cell", "=", cell)
    .where("leftover", "=", partition)
    .execute();
}

/** An epoch for steps outside any move. */
export async function nextEpoch(db: ControlDb): Promise<number> {
  const { epoch } = await db.selectNoFrom(sql<number>`nextval('gateway.epochs')`.as("epoch")).executeTakeFirstOrThrow();
  return epoch;
}
