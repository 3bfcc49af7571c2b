import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import type { Logger } from "@cell/http";
import { differingTables } from "@cell/postgres/transfer/digest";
import { notFound, Problem } from "@cell/problem";
import type { ControlDb } from "../control-plane/tables.ts";
import type { CellClient } from "../upstream/cell-client.ts";
import { copyRows, digest, type Place, step, verifyTrail, versionOf } from "./copying.ts";
import * as moves from "./repository.ts";

export interface MoverOptions {
  db: ControlDb;
  cells: CellClient;
  /** Called after a change of the control plane. */
  changed(): void;
  log: Logger;
}

const beatMs = 2_000;
const retryMs = 1_000;

/** Another process has taken over the move: this process must not continue it. */
class TakenOver extends Error {}

/** A move in progress in this process. */
interface Course {
  move: moves.Move;
  from: Place;
  to: Place;
  rows: number;
}

/**
 * Moves tenants between partitions. All decisions are stored in the control plane: if the process of a move dies, another gateway takes the
 * move over. It reverts the move, or finishes it if the tenant has been handed over already.
 */
export class Mover {
  readonly #options: MoverOptions;
  readonly #runner = randomUUID();
  readonly #running = new Set<Promise<void>>();
  #looking: NodeJS.Timeout | undefined;
  #stopped = false;

  constructor(options: MoverOptions) {
    this.#options = options;
  }

  /** Begins to take over moves of dead processes. */
  start(): void {
    this.#looking = setInterval(() => this.#takeOver(), beatMs).unref();
  }

  /** Releases running moves to other processes, or to the next start of this one; resolves when they are released. */
  async stop(): Promise<void> {
    this.#stopped = true;
    clearInterval(this.#looking);
    await Promise.all(this.#running);
  }

  /** Begins to move a tenant; resolves when that is stored. Throws NOT_FOUND, and CONFLICT if it is already there or being moved. */
  async begin(tenantId: string, cell: string, to: string): Promise<moves.Move> {
    const { db } = this.#options;
    const target = await moves.partition(db, cell, to);
    if (!target) throw notFound(`The partition ${to}`);
    const move = await db.transaction().execute(async (tx) => {
      const placement = await moves.lockPlacement(tx, tenantId, cell);
      if (!placement?.provisioned) throw notFound("Tenant");
      if (placement.partition === to) throw new Problem("CONFLICT", `${tenantId} is on ${to} already`);
      return moves.insert(tx, { cell, tenantId, fromPartition: placement.partition, toPartition: to, runner: this.#runner });
    });
    if (!move) throw new Problem("CONFLICT", `${tenantId} is being moved already`);
    this.#carryOut(move, (course) => this.#move(course));
    return move;
  }

  async #takeOver(): Promise<void> {
    const { db, log } = this.#options;
    try {
      for (const move of await moves.takeOver(db, this.#runner)) {
        log.warn({ moveId: move.moveId, tenantId: move.tenantId, state: move.state }, "the process of a move has died");
        this.#carryOut(move, async (course) => {
          if (move.state === "flipped") await this.#finish(course);
          else await this.#takeBack(course, "The gateway that carried it out has stopped");
        });
      }
    } catch (error) {
      log.warn({ err: error }, "checking for moves of dead processes has failed");
    }
  }

  #carryOut(move: moves.Move, work: (course: Course) => Promise<void>): void {
    const run = this.#watched(move, work)
      .catch((err) => this.#options.log.error({ err, moveId: move.moveId, tenantId: move.tenantId }, "a move has stopped here"))
      .finally(() => this.#running.delete(run));
    this.#running.add(run);
  }

  /** Sends a periodic heartbeat while the move runs here. */
  async #watched(move: moves.Move, work: (course: Course) => Promise<void>): Promise<void> {
    const { db, log } = this.#options;
    const course = await this.#course(move);
    const beat = setInterval(() => {
      if (this.#stopped) return;
      moves.beat(db, course.move, course.rows).catch((err) => log.warn({ err, moveId: move.moveId }, "the heartbeat of a move failed"));
    }, beatMs).unref();
    try {
      await work(course);
    } finally {
      clearInterval(beat);
      if (this.#stopped) await moves.release(db, course.move);
    }
  }

  async #course(move: moves.Move): Promise<Course> {
    const { cell, tenantId, epoch, fromPartition, toPartition } = move;
    const place = async (name: string): Promise<Place> => {
      const partition = await moves.partition(this.#options.db, cell, name);
      if (!partition) throw notFound(`The partition ${name}`);
      return { partition, tenantId, epoch };
    };
    return { move, from: await place(fromPartition), to: await place(toPartition), rows: 0 };
  }

  async #move(course: Course): Promise<void> {
    try {
      await this.#copy(course);
    } catch (error) {
      if (error instanceof TakenOver || this.#stopped) throw error;
      await this.#takeBack(course, error instanceof Problem ? error.message : "A fault of ours: see the gateway's log", error);
      return;
    }
    await this.#finish(course);
  }

  /** Copies the tenant, up to the moment at which it is served at the target. */
  async #copy(course: Course): Promise<void> {
    const { cells, db } = this.#options;
    const { from, to } = course;
    const copied = (rows: number) => {
      course.rows += rows;
      if (this.#stopped) throw new TakenOver();
    };
    await this.#advance(course, ["copying"], { step: "copying" });
    await step(cells, to, "arrive", { version: await versionOf(cells, from) });
    const bulk = await copyRows(cells, from, to, { copied });
    await this.#advance(course, ["copying"], { step: "indexing" });
    await step(cells, to, "index");
    // Copies the changes since the first copy while writing continues, so that little is left for the pause.
    await this.#advance(course, ["copying"], { step: "catching up and comparing" });
    const trail = await verifyTrail(cells, from);
    if (!trail.ok) throw new Problem("CONFLICT", "The audit trail does not verify: look at it before the move");
    const whole = await copyRows(cells, from, to, { since: bulk.snapshot, digest: true, copied });
    const there = await digest(cells, to);
    const different = whole.digest ? differingTables(whole.digest, there) : [];

    await this.#advance(course, ["copying"], { state: "paused", step: "handing over" });
    await step(cells, from, "pause");
    const { sequences } = await copyRows(cells, from, to, { since: whole.snapshot, copied });
    await this.#compare(course, different, [whole.snapshot, there.snapshot], copied);
    await step(cells, to, "complete", { sequences });
    const flipped = await moves.flip(db, course.move);
    if (!flipped) throw new TakenOver();
    course.move = flipped;
  }

  /**
   * Requires that both sides have equal rows, else throws CONFLICT. Tables that were equal at two snapshots only need a check of later
   * changes; tables with deleted rows are copied once more and compared completely.
   */
  async #compare({ from, to }: Course, different: string[], since: [string, string], copied: (rows: number) => void): Promise<void> {
    const { cells } = this.#options;
    const digests = (here?: string, there?: string) => Promise.all([digest(cells, from, here), digest(cells, to, there)]);
    const tables = [...new Set([...different, ...differingTables(...(await digests(...since)))])];
    if (tables.length === 0) return;
    await copyRows(cells, from, to, { tables, copied });
    const left = differingTables(...(await digests()));
    if (left.length > 0) throw new Problem("CONFLICT", `The copy differs in: ${left.join(", ")}`);
  }

  /** The tenant has been handed over: from here on nothing is reverted. */
  async #finish(course: Course): Promise<void> {
    const { cells, changed, db, log } = this.#options;
    changed();
    await this.#insist(course, async () => {
      const { from, to } = course;
      const left = await step(cells, from, "leave").then(
        () => undefined,
        (error: unknown) => error,
      );
      await step(cells, to, "resume");
      await moves.notePauseEnd(db, course.move);
      if (left) throw left;
      await step(cells, to, "settle");
      const trail = await verifyTrail(cells, to);
      const failure = trail.ok ? null : "The audit trail on the new partition does not verify";
      await this.#advance(course, ["flipped"], { state: "done", step: "done", failure, leftover: course.move.fromPartition });
    });
    const { moveId, tenantId, pauseMs, fromPartition, toPartition } = course.move;
    log.info({ moveId, tenantId, from: fromPartition, to: toPartition, rows: course.rows, pauseMs }, "a tenant was moved");
  }

  /** The tenant continues on the source partition. */
  async #takeBack(course: Course, failure: string, error?: unknown): Promise<void> {
    const { cells, db, log } = this.#options;
    log.warn({ moveId: course.move.moveId, tenantId: course.move.tenantId, err: error }, "a move is reverted");
    await this.#insist(course, async () => {
      await this.#advance(course, ["copying", "paused", "aborting"], { state: "aborting", step: "taking back" });
      const { from, to } = course;
      await step(cells, from, "resume");
      if (course.move.pausedAt) await moves.notePauseEnd(db, course.move);
      const leftover = await step(cells, to, "discard").then(
        () => null,
        () => course.move.toPartition,
      );
      await this.#advance(course, ["aborting"], { state: "failed", step: "failed", failure, leftover });
    });
  }

  /** Retries until it succeeds, or this process stops: another one continues then. */
  async #insist(course: Course, work: () => Promise<void>): Promise<void> {
    for (;;) {
      try {
        return await work();
      } catch (error) {
        if (error instanceof TakenOver || this.#stopped) throw error;
        this.#options.log.warn({ err: error, moveId: course.move.moveId, tenantId: course.move.tenantId }, "a move cannot end yet");
        await sleep(retryMs);
      }
    }
  }

  async #advance(course: Course, from: readonly moves.Move["state"][], set: Parameters<typeof moves.advance>[3]): Promise<void> {
    const move = await moves.advance(this.#options.db, course.move, from, set);
    if (!move) throw new TakenOver("another process has taken over the move");
    course.move = move;
    for (const place of [course.from, course.to]) place.epoch = move.epoch;
  }
}
