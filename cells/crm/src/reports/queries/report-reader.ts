import { cachedQuery, singleFlight } from "@cell/cell";
import { type Parameters, statement, type TenantDb } from "@cell/postgres";
import { sql } from "kysely";
import { opportunity } from "../../opportunities/schema.ts";
import { db } from "../../tables.ts";
import type { AsOf, Question } from "./opportunity-states.ts";

/** Takes work that no response waits for. */
export type RunInBackground = (work: () => Promise<void>) => void;

const later = statement((p: Parameters<{ asOf: string }>) =>
  // The last moment is at the end of an index, wherever the requested one lies.
  db.selectFrom("opportunityHistory").select(sql<boolean | null>`max(at) > ${p.asOf}::timestamptz`.as("isLater")),
);

/**
 * Reads the rows of one report: from the present while that is what its moment shows, else from the history. It caches the rows that still
 * hold, and concurrent requests for the same rows share one read.
 */
export class ReportReader {
  readonly tenant: TenantDb;
  readonly question: Question;
  /** Stores aggregates after the response. */
  readonly runInBackground: RunInBackground;
  /** The report shows the present: its request named no moment. */
  readonly isCurrent: boolean;

  constructor(tenant: TenantDb, question: Question, isCurrent: boolean, runInBackground: RunInBackground) {
    this.tenant = tenant;
    this.question = question;
    this.isCurrent = isCurrent;
    this.runInBackground = runInBackground;
  }

  /** The rows at the report's moment. `key`: all that they depend on besides the question. */
  read<Row>(key: readonly unknown[], query: (asOf: AsOf) => Promise<Row[]>): Promise<Row[]> {
    const name = JSON.stringify([this.tenant.tenantId, this.question, key]);
    return singleFlight(name, () => (this.isCurrent ? query("present") : this.#readAtMoment(query)));
  }

  /** As `read`, but present rows come from the cache while they hold: they must not depend on the moment. */
  readCached<Row>(key: readonly unknown[], query: (asOf: AsOf) => Promise<Row[]>): Promise<Row[]> {
    if (this.isCurrent) return this.#cached(key, query);
    return this.read(key, (asOf) => (asOf === "past" ? query(asOf) : this.#cached(key, query)));
  }

  #cached<Row>(key: readonly unknown[], query: (asOf: AsOf) => Promise<Row[]>): Promise<Row[]> {
    const { asOf: _, ...question } = this.question;
    return cachedQuery(this.tenant, [opportunity.type], [question, key], () => query("present"));
  }

  /** The present rows if nothing has changed since the moment, else those of the history. */
  async #readAtMoment<Row>(query: (asOf: AsOf) => Promise<Row[]>): Promise<Row[]> {
    if (!(await this.#hasChangedSince())) {
      const rows = await query("present");
      // The rows contain a change that was committed between the two checks.
      if (!(await this.#hasChangedSince())) return rows;
    }
    return query("past");
  }

  /** Whether anything that reports depend on has changed since the moment. */
  async #hasChangedSince(): Promise<boolean> {
    return (await this.tenant.first(later, { asOf: this.question.asOf }))?.isLater === true;
  }
}
