import type { TenantDb } from "@cell/postgres";
import { LRUCache } from "lru-cache";
import { findParts, keepParts } from "./kept-parts.ts";
import { changedSince, type News, newsOf } from "./remembered.ts";

/** Sums over records of one type by the part that each is in, such as the day on which it was made. Parts are in the order of their names. */
export interface Parts<Row> {
  /** The records' type, in the audit trail. */
  type: string;
  /** What the sums depend on beside the records. */
  question: unknown;
  /** Of what kind the rows are: the text of the statement that reads them. What an older program has kept is of another. */
  shape: string;
  partOf(row: Row): string;
  /** The rows of all parts from the first on, up to but without the last. */
  readRange(first: string, last: string): Promise<Row[]>;
  /** The rows of these parts. */
  readParts(parts: readonly string[]): Promise<Row[]>;
  /** The parts that these records are in, or were in before they were changed; what is none of them is passed over. */
  partsOf(ids: readonly string[]): Promise<string[]>;
}

/** What a process knows: all rows of the parts from `first` on, up to but without `last`, as they were at the snapshot. */
export interface Known<Row> extends Pick<News, "snapshot" | "transactionOffset"> {
  first: string;
  last: string;
  rows: readonly Row[];
}

interface Held<Row> extends Omit<Known<Row>, "rows"> {
  identity: object;
  rows: Map<string, Row[]>;
  /** How many changes what is kept in the database does not have; infinite where it does not have all parts. */
  unkept: number;
}

/** Small against `mostChanges`, beyond which what is kept would be of no use. */
const mostUnkept = 500;

/** Rows in all: some 50 MB of them. */
const mostRows = 200_000;
const kept = new LRUCache<string, Promise<Held<unknown>>>({ maxSize: mostRows });

/**
 * The rows of the parts from `first` on, up to but without `last`, as they are: never stale. What is in memory is read again for those
 * parts alone whose records were written since, and for parts that nobody has asked for yet. It is kept in the database too, for processes
 * that start: `later` is given the work of doing so. Rejects as the reads do.
 */
export async function rememberedParts<Row>(
  tenant: TenantDb,
  parts: Parts<Row>,
  first: string,
  last: string,
  later: (work: () => Promise<void>) => void,
): Promise<Row[]> {
  const name = JSON.stringify([tenant.tenantId, parts.type, parts.question, parts.shape]);
  const before = kept.get(name) as Promise<Held<Row>> | undefined;
  // One after the other: each looks at what the one before has left.
  const found = heldBy(tenant, parts, first, last, before);
  kept.set(name, found, { size: 1 });
  try {
    const held = await found;
    const size = [...held.rows.values()].reduce((sum, its) => sum + its.length, 1);
    if (kept.get(name) === found) kept.set(name, found, { size });
    if (held.unkept > mostUnkept) {
      held.unkept = 0;
      later(() => keepParts(tenant, parts, { ...held, rows: [...held.rows.values()].flat() }));
    }
    return [...held.rows].flatMap(([part, its]) => (part >= first && part < last ? its : []));
  } catch (error) {
    if (kept.get(name) === found) kept.delete(name);
    throw error;
  }
}

async function heldBy<Row>(
  tenant: TenantDb,
  parts: Parts<Row>,
  first: string,
  last: string,
  before: Promise<Held<Row>> | undefined,
): Promise<Held<Row>> {
  const { identity } = tenant;
  // What failed for the one before may succeed now.
  const known = await before?.catch(() => undefined);
  const held = known?.identity === identity ? known : await keptBefore(tenant, parts);
  const { snapshot, transactionOffset, changes } = await newsOf(tenant, [parts.type], held?.snapshot ?? null);
  const isSame = held?.transactionOffset === transactionOffset;
  const changed = isSame && changes > 0 ? await changedSince(tenant, [parts.type], held) : [];
  if (!isSame || !changed) {
    const rows = await parts.readRange(first, last);
    return { identity, snapshot, transactionOffset, first, last, rows: Map.groupBy(rows, parts.partOf), unkept: Number.POSITIVE_INFINITY };
  }
  const rows = new Map(held.rows);
  const put = (read: Row[]) => {
    for (const [part, its] of Map.groupBy(read, parts.partOf)) rows.set(part, its);
  };
  if (changed.length > 0) {
    const ours = (await parts.partsOf(changed)).filter((part) => part >= held.first && part < held.last);
    const read = ours.length > 0 ? await parts.readParts(ours) : [];
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
    unkept: isWider ? Number.POSITIVE_INFINITY : held.unkept + changed.length,
  };
}

/** What this or another process has kept in the database. */
async function keptBefore<Row>(tenant: TenantDb, parts: Parts<Row>): Promise<Held<Row> | undefined> {
  const found = await findParts<Row>(tenant, parts);
  return found && { ...found, identity: tenant.identity, rows: Map.groupBy(found.rows, parts.partOf), unkept: 0 };
}
