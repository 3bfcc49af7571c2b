import type { TenantDb } from "@cell/postgres";
import { LRUCache } from "lru-cache";
import { findBuckets, storeBuckets } from "./aggregate-store.ts";
import { changedIdsSince, changesSince, type TrailChanges } from "./query-cache.ts";

/** Sums over records of one type by the part that each is in, such as the day on which it was made. Parts are in the order of their names. */
export interface Buckets<Row> {
  /** The records' type, in the audit trail. */
  type: string;
  /** What the sums depend on beside the records. */
  question: unknown;
  /** Of what kind the rows are: the text of the statement that reads them. What an older program has kept is of another. */
  queryVersion: string;
  bucketOf(row: Row): string;
  /** The rows of all parts from the first on, up to but without the last. */
  readRange(first: string, last: string): Promise<Row[]>;
  /** The rows of these parts. */
  readBuckets(parts: readonly string[]): Promise<Row[]>;
  /** The parts that these records are in, or were in before they were changed; what is none of them is passed over. */
  bucketsOf(ids: readonly string[]): Promise<string[]>;
}

/** What a process knows: all rows of the parts from `first` on, up to but without `last`, as they were at the snapshot. */
export interface BucketRange<Row> extends Pick<TrailChanges, "snapshot" | "transactionOffset"> {
  first: string;
  last: string;
  rows: readonly Row[];
}

interface CachedBuckets<Row> extends Omit<BucketRange<Row>, "rows"> {
  identity: object;
  rows: Map<string, Row[]>;
  /** How many changes what is kept in the database does not have; infinite where it does not have all parts. */
  unstored: number;
}

/** Small against `mostChanges`, beyond which what is kept would be of no use. */
const storeAfterChanges = 500;

/** Rows in all: some 50 MB of them. */
const mostRows = 200_000;
const bucketCache = new LRUCache<string, Promise<CachedBuckets<unknown>>>({ maxSize: mostRows });

/**
 * The rows of the parts from `first` on, up to but without `last`, as they are: never stale. What is in memory is read again for those
 * parts alone whose records were written since, and for parts that nobody has asked for yet. It is kept in the database too, for processes
 * that start: `later` is given the work of doing so. Rejects as the reads do.
 */
export async function cachedBuckets<Row>(
  tenant: TenantDb,
  parts: Buckets<Row>,
  first: string,
  last: string,
  runInBackground: (work: () => Promise<void>) => void,
): Promise<Row[]> {
  const name = JSON.stringify([tenant.tenantId, parts.type, parts.question, parts.queryVersion]);
  const before = bucketCache.get(name) as Promise<CachedBuckets<Row>> | undefined;
  // One after the other: each looks at what the one before has left.
  const found = refreshBuckets(tenant, parts, first, last, before);
  bucketCache.set(name, found, { size: 1 });
  try {
    const held = await found;
    const size = [...held.rows.values()].reduce((sum, its) => sum + its.length, 1);
    if (bucketCache.get(name) === found) bucketCache.set(name, found, { size });
    if (held.unstored > storeAfterChanges) {
      held.unstored = 0;
      runInBackground(() => storeBuckets(tenant, parts, { ...held, rows: [...held.rows.values()].flat() }));
    }
    return [...held.rows].flatMap(([part, its]) => (part >= first && part < last ? its : []));
  } catch (error) {
    if (bucketCache.get(name) === found) bucketCache.delete(name);
    throw error;
  }
}

async function refreshBuckets<Row>(
  tenant: TenantDb,
  parts: Buckets<Row>,
  first: string,
  last: string,
  before: Promise<CachedBuckets<Row>> | undefined,
): Promise<CachedBuckets<Row>> {
  const { identity } = tenant;
  // What failed for the one before may succeed now.
  const known = await before?.catch(() => undefined);
  const held = known?.identity === identity ? known : await loadStoredBuckets(tenant, parts);
  const { snapshot, transactionOffset, changes } = await changesSince(tenant, [parts.type], held?.snapshot ?? null);
  const isSame = held?.transactionOffset === transactionOffset;
  const changed = isSame && changes > 0 ? await changedIdsSince(tenant, [parts.type], held) : [];
  if (!isSame || !changed) {
    const rows = await parts.readRange(first, last);
    return {
      identity,
      snapshot,
      transactionOffset,
      first,
      last,
      rows: Map.groupBy(rows, parts.bucketOf),
      unstored: Number.POSITIVE_INFINITY,
    };
  }
  const rows = new Map(held.rows);
  const put = (read: Row[]) => {
    for (const [part, its] of Map.groupBy(read, parts.bucketOf)) rows.set(part, its);
  };
  if (changed.length > 0) {
    const ours = (await parts.bucketsOf(changed)).filter((part) => part >= held.first && part < held.last);
    const read = ours.length > 0 ? await parts.readBuckets(ours) : [];
    for (const part of ours) rows.delete(part);
    put(read);
  }
  if (first < held.first) put(await parts.readRange(first, held.first));
  if (last > held.last) put(await parts.readRange(held.last, last));
  const isWider = first < held.first || last > held.last;
  return {
    identity,
    snapshot,
    transactionOffset,
    first: first < held.first ? first : held.first,
    last: last > held.last ? last : held.last,
    rows,
    unstored: isWider ? Number.POSITIVE_INFINITY : held.unstored + changed.length,
  };
}

/** What this or another process has kept in the database. */
async function loadStoredBuckets<Row>(tenant: TenantDb, parts: Buckets<Row>): Promise<CachedBuckets<Row> | undefined> {
  const found = await findBuckets<Row>(tenant, parts);
  return found && { ...found, identity: tenant.identity, rows: Map.groupBy(found.rows, parts.bucketOf), unstored: 0 };
}
