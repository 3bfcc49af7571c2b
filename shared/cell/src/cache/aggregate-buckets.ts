import type { TenantDb } from "@cell/postgres";
import { LRUCache } from "lru-cache";
import { type BucketRange, type Buckets, findBuckets, storeBuckets } from "./aggregate-store.ts";
import { changedIdsSince, changesSince } from "./query-cache.ts";

interface CachedBuckets<Row> extends Omit<BucketRange<Row>, "rows"> {
  identity: object;
  rows: Map<string, Row[]>;
  /** Number of changes that the stored rows lack; infinite if they lack buckets. */
  unstored: number;
}

/** Small against `mostChanges`, beyond which stored rows are useless. */
const storeAfterChanges = 500;

/** Total number of rows, about 50 MB. */
const mostRows = 200_000;
const bucketCache = new LRUCache<string, Promise<CachedBuckets<unknown>>>({ maxSize: mostRows });

/**
 * The current rows of the buckets from `first` up to and excluding `last`, never stale. Of the rows in memory, only buckets with records
 * written since are read again, and buckets that are missing. The rows are also stored in the database for processes that start:
 * `runInBackground` receives that work. Rejects as the reads do.
 */
export async function cachedBuckets<Row>(
  tenant: TenantDb,
  buckets: Buckets<Row>,
  first: string,
  last: string,
  runInBackground: (work: () => Promise<void>) => void,
): Promise<Row[]> {
  const name = JSON.stringify([tenant.tenantId, buckets.type, buckets.question, buckets.queryVersion]);
  const before = bucketCache.get(name) as Promise<CachedBuckets<Row>> | undefined;
  // Serialized: each call builds on the result of the one before.
  const found = refreshBuckets(tenant, buckets, first, last, before);
  bucketCache.set(name, found, { size: 1 });
  try {
    const held = await found;
    const size = [...held.rows.values()].reduce((sum, its) => sum + its.length, 1);
    if (bucketCache.get(name) === found) bucketCache.set(name, found, { size });
    if (held.unstored > storeAfterChanges) {
      held.unstored = 0;
      runInBackground(() => storeBuckets(tenant, buckets, { ...held, rows: [...held.rows.values()].flat() }));
    }
    return [...held.rows].flatMap(([bucket, its]) => (bucket >= first && bucket < last ? its : []));
  } catch (error) {
    if (bucketCache.get(name) === found) bucketCache.delete(name);
    throw error;
  }
}

async function refreshBuckets<Row>(
  tenant: TenantDb,
  buckets: Buckets<Row>,
  first: string,
  last: string,
  before: Promise<CachedBuckets<Row>> | undefined,
): Promise<CachedBuckets<Row>> {
  const { identity } = tenant;
  // A call may succeed where the one before failed.
  const known = await before?.catch(() => undefined);
  const held = known?.identity === identity ? known : await loadStoredBuckets(tenant, buckets);
  const { snapshot, transactionOffset, changes } = await changesSince(tenant, [buckets.type], held?.snapshot ?? null);
  const isSame = held?.transactionOffset === transactionOffset;
  const changed = isSame && changes > 0 ? await changedIdsSince(tenant, [buckets.type], held) : [];
  if (!isSame || !changed) {
    const rows = await buckets.readRange(first, last);
    return {
      identity,
      snapshot,
      transactionOffset,
      first,
      last,
      rows: Map.groupBy(rows, buckets.bucketOf),
      unstored: Number.POSITIVE_INFINITY,
    };
  }
  const rows = new Map(held.rows);
  const put = (read: Row[]) => {
    for (const [bucket, its] of Map.groupBy(read, buckets.bucketOf)) rows.set(bucket, its);
  };
  if (changed.length > 0) {
    const ours = (await buckets.bucketsOf(changed)).filter((bucket) => bucket >= held.first && bucket < held.last);
    const read = ours.length > 0 ? await buckets.readBuckets(ours) : [];
    for (const bucket of ours) rows.delete(bucket);
    put(read);
  }
  if (first < held.first) put(await buckets.readRange(first, held.first));
  if (last > held.last) put(await buckets.readRange(held.last, last));
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

/** The rows that this or another process has stored in the database. */
async function loadStoredBuckets<Row>(tenant: TenantDb, buckets: Buckets<Row>): Promise<CachedBuckets<Row> | undefined> {
  const found = await findBuckets<Row>(tenant, buckets);
  return found && { ...found, identity: tenant.identity, rows: Map.groupBy(found.rows, buckets.bucketOf), unstored: 0 };
}
