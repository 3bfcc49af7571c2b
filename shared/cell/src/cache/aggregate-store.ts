import { hash } from "node:crypto";
import { type Parameters, statement, type TenantDb, tenantTables, valuesOf } from "@cell/postgres";
import { sql } from "kysely";
import type { TrailChanges } from "./query-cache.ts";

/** Aggregates over the records of one type by bucket, such as the day of creation. Buckets are ordered by name. */
export interface Buckets<Row> {
  /** The records' type in the audit trail. */
  type: string;
  /** Everything besides the records that the aggregates depend on. */
  question: unknown;
  /** Identifies the kind of rows: the text of the statement that reads them. Rows stored by another version of the program differ in it. */
  queryVersion: string;
  bucketOf(row: Row): string;
  /** The rows of all buckets from `first` up to and excluding `last`. */
  readRange(first: string, last: string): Promise<Row[]>;
  /** The rows of these buckets. */
  readBuckets(buckets: readonly string[]): Promise<Row[]>;
  /** The current and former buckets of these records; ids of other types are ignored. */
  bucketsOf(ids: readonly string[]): Promise<string[]>;
}

/** The rows that a process knows: all buckets from `first` up to and excluding `last`, as of the snapshot. */
export interface BucketRange<Row> extends Pick<TrailChanges, "snapshot" | "transactionOffset"> {
  first: string;
  last: string;
  rows: readonly Row[];
}

interface StoredBuckets extends Omit<BucketRange<unknown>, "rows"> {
  question: string;
  /** JSON. */
  rows: string;
  keptAt: string;
}

const tables = tenantTables<{ keptParts: StoredBuckets }>();
const columns = ["snapshot", "transactionOffset", "first", "last", "rows"] as const;

/** Limit of stored questions per tenant; the oldest ones are deleted first. */
const mostQuestions = 100;

const find = statement((p: Parameters<{ question: string }>) =>
  tables
    .selectFrom("keptParts")
    .select(["snapshot", "first", "last", "rows", sql<string>`transaction_offset::text`.as("transactionOffset")])
    .where("question", "=", p.question)
    // Transactions of another server are none of this one's.
    .where(sql<boolean>`pg_snapshot_xmax(snapshot) <= pg_snapshot_xmax(pg_current_snapshot())`),
);

const keep = statement((p: Parameters<StoredBuckets>) =>
  tables
    .with("kept", (db) =>
      db
        .insertInto("keptParts")
        .values(valuesOf(p, ["question", ...columns, "keptAt"]))
        .onConflict((conflict) =>
          conflict
            .column("question")
            .doUpdateSet((eb) => Object.fromEntries([...columns, "keptAt" as const].map((name) => [name, eb.ref(`excluded.${name}`)]))),
        ),
    )
    .deleteFrom("keptParts")
    .where("question", "in", (eb) =>
      eb.selectFrom("keptParts as older").select("older.question").orderBy("older.keptAt", "desc").offset(sql.lit(mostQuestions)),
    ),
);

/** The stored rows of these buckets; undefined if there are none, or a program with another query stored them. */
export async function findBuckets<Row>(tenant: TenantDb, buckets: Buckets<Row>): Promise<BucketRange<Row> | undefined> {
  const found = await tenant.first(find, { question: nameOf(tenant, buckets) });
  return found && { ...found, rows: JSON.parse(found.rows) as Row[] };
}

/**
 * Stores the rows of these buckets for processes that start. Rejects as queries do, also while the tenant is being moved, which takes no
 * writes.
 */
export async function storeBuckets<Row>(tenant: TenantDb, buckets: Buckets<Row>, known: BucketRange<Row>): Promise<void> {
  const { snapshot, transactionOffset, first, last } = known;
  const rows = JSON.stringify(known.rows);
  const keptAt = new Date().toISOString();
  await tenant.query(keep, { question: nameOf(tenant, buckets), snapshot, transactionOffset, first, last, rows, keptAt });
}

/** Includes the schema version: a migration may change data without an audit entry. */
function nameOf<Row>(tenant: TenantDb, { type, question, queryVersion }: Buckets<Row>): string {
  return hash("sha256", JSON.stringify([tenant.version, type, question, queryVersion]), "base64url");
}
