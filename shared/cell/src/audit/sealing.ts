import { schemaOf } from "@cell/postgres";
import type { RawNode } from "kysely";
import type { PoolClient } from "pg";
import {
  entryJson,
  isBefore,
  isSigned,
  leafOf,
  origin,
  type Position,
  type Seal,
  type SealKeys,
  type SealNotice,
  type SealWitness,
  sealed,
} from "./seal.ts";

const entriesPerSeal = 2_000;
/** So few that reading them blocks this process for less than a millisecond. */
const entriesPerRead = 100;
const sealsPerTransaction = 50;

/** The signing keys and the known earlier seals. */
export interface SealedBy {
  keys: SealKeys;
  witness: SealWitness;
}

/** Result of one transaction. */
export interface Sealing {
  /** Seals to publish. */
  notices: SealNotice[];
  /** It ended because it was long enough: more can be sealed immediately. */
  full: boolean;
  /** Some entries' transactions, or earlier ones, are still running. */
  left: boolean;
  /** When the oldest of these remaining entries was written, if it was looked up. */
  oldestLeftAt?: string | undefined;
  /** A remaining entry claims a transaction of the future: it is never sealed. */
  isBeyond?: boolean;
}

/** Why a trail cannot be sealed; it needs a person. The message names no tenant. */
export class TrailFault extends Error {}

const [entryJsonSql] = (entryJson.toOperationNode() as RawNode).sqlFragments;

/** Whether a tenant's trail has entries after its last seal. */
export const isUnsealed = `exists (select from "$tenant".audit_logs where (transaction_id, seq) >= (
  coalesce((select to_transaction from "$tenant".audit_seals order by seal desc limit 1), 0),
  coalesce((select to_seq from "$tenant".audit_seals order by seal desc limit 1), 0)))`;

/** The part of the last seal that the next one needs. */
type Last = Pick<Seal, "seal" | "to" | "transactionOffset" | "root">;

/**
 * Seals the entries of finished transactions, inside the owner's transaction of `client`. Rejects with the database's error, or with a
 * TrailFault if the trail does not continue the last seal.
 */
export async function sealFinished(client: PoolClient, by: SealedBy, tenantId: string): Promise<Sealing> {
  const schema = `"${schemaOf(tenantId)}"`;
  const { rows } = await client.query<{ locked: boolean }>(`select pg_try_advisory_xact_lock(${lockOf(schema)}) as locked`);
  if (!rows[0]?.locked) return { notices: [], full: false, left: true };
  const { last, notices } = await lastSeal(client, by.witness, tenantId, schema);
  // Every transaction before this has ended, so that no earlier entry can appear any more.
  const to = await currentPosition(client, "pg_snapshot_xmin(pg_current_snapshot())", last);
  const sealed = { ...last.to, seq: "0" };
  if (isBefore(to, sealed)) {
    // Right after an adoption an older transaction may still run; a transaction id below the last seal's means another server.
    const next = await currentPosition(client, "pg_snapshot_xmax(pg_current_snapshot())", last);
    if (isBefore(next, sealed)) throw new TrailFault("the trail comes from another database server and was not adopted");
    return { notices, full: false, left: true };
  }
  const { seals, full } = await sealRange(client, by, tenantId, schema, last, to, sealsPerTransaction);
  const rest = await leftBehind(client, schema, { ...last, to: seals.at(-1)?.to ?? last.to });
  return { notices: [...notices, ...seals.map(noticeOf)], full, ...rest };
}

/** What remains after the last seal, by the first and the last entry in the trail's order. */
async function leftBehind(
  client: PoolClient,
  schema: string,
  { to, transactionOffset }: Last,
): Promise<Pick<Sealing, "left" | "oldestLeftAt" | "isBeyond">> {
  const ends = ["asc", "desc"].map(
    (direction) => `(select transaction_id, occurred_at from ${schema}.audit_logs where (transaction_id, seq) >= ($1, $2)
      order by transaction_id ${direction}, seq ${direction} limit 1)`,
  );
  const { rows } = await client.query<{ oldestLeftAt: string; isBeyond: boolean }>(
    `select least(occurred_at, now()) as "oldestLeftAt",
       transaction_id >= pg_snapshot_xmax(pg_current_snapshot())::text::bigint + $3::bigint as "isBeyond"
     from (${ends.join(" union all ")}) as ends order by 1`,
    [to.transaction, to.seq, transactionOffset],
  );
  return { left: rows.length > 0, oldestLeftAt: rows[0]?.oldestLeftAt, isBeyond: rows.some(({ isBeyond }) => isBeyond) };
}

/**
 * Seals the whole copied trail, and makes this server's transaction ids continue from there. Runs inside the owner's transaction of
 * `client`; the tenant is not written to meanwhile.
 */
export async function continueTrail(client: PoolClient, by: SealedBy, tenantId: string): Promise<SealNotice[]> {
  const schema = `"${schemaOf(tenantId)}"`;
  await client.query(`select pg_advisory_xact_lock(${lockOf(schema)})`);
  await client.query(`lock table ${schema}.audit_logs in exclusive mode`);
  const { last, notices } = await lastSeal(client, by.witness, tenantId, schema);
  const { rows } = await client.query<{ end: string }>(
    `select (coalesce(max(transaction_id), 0) + 1)::text as end from ${schema}.audit_logs where transaction_id >= $1`,
    [last.to.transaction],
  );
  const copied = { transaction: rows[0]?.end ?? "0", seq: "0" };
  const to = isBefore(copied, last.to) ? { transaction: (BigInt(last.to.transaction) + 1n).toString(), seq: "0" } : copied;
  const here = await currentPosition(client, "pg_current_xact_id()", { ...last, transactionOffset: "0" });
  const ahead = BigInt(to.transaction) - BigInt(here.transaction);
  const offset = ahead > 0n ? ahead : 0n;
  await client.query(`alter table ${schema}.audit_logs alter transaction_id set default (pg_current_xact_id()::text::bigint + ${offset})`);
  const adopted = { ...last, transactionOffset: offset.toString() };
  const { seals } = await sealRange(client, by, tenantId, schema, adopted, to, Number.POSITIVE_INFINITY);
  // Also if everything was sealed before: the new offset is part of the chain.
  if (seals.length === 0) seals.push(await insertSeal(client, schema, nextSeal(by.keys, tenantId, adopted, to, emptyChunk())));
  return [...notices, ...seals.map(noticeOf)];
}

function lockOf(schema: string): string {
  return `hashtextextended('seal ${schema}', 0)`;
}

async function currentPosition(client: PoolClient, transaction: string, { transactionOffset }: Last): Promise<Position> {
  const { rows } = await client.query<{ current: string }>(`select (${transaction}::text::bigint + $1::bigint)::text as current`, [
    transactionOffset,
  ]);
  return { transaction: rows[0]?.current ?? "0", seq: "0" };
}

async function sealRange(
  client: PoolClient,
  by: SealedBy,
  tenantId: string,
  schema: string,
  from: Last,
  to: Position,
  atMost: number,
): Promise<{ seals: Seal[]; full: boolean }> {
  await client.query(`declare entries no scroll cursor for select seq::text as number, transaction_id::text as transaction, ${entryJsonSql} as json
    from ${schema}.audit_logs
    where (transaction_id, seq) >= (${BigInt(from.to.transaction)}, ${BigInt(from.to.seq)}) and transaction_id < ${BigInt(to.transaction)}
    order by transaction_id, seq`);
  const seals: Seal[] = [];
  let last = from;
  let full = true;
  while (full && seals.length < atMost) {
    const chunk = await readChunk(client);
    full = chunk.seqs.length === entriesPerSeal;
    if (chunk.seqs.length === 0) break;
    const seal = await insertSeal(client, schema, nextSeal(by.keys, tenantId, last, full ? chunk.end : to, chunk));
    seals.push(seal);
    last = seal;
  }
  return { seals, full };
}

/** The entries of one seal, and the position after them. */
interface Chunk {
  seqs: string[];
  leaves: string;
  end: Position;
}

const emptyChunk = (): Chunk => ({ seqs: [], leaves: "", end: origin.to });

async function readChunk(client: PoolClient): Promise<Chunk> {
  const chunk = emptyChunk();
  while (chunk.seqs.length < entriesPerSeal) {
    const { rows } = await client.query<{ number: string; transaction: string; json: string }>(`fetch ${entriesPerRead} from entries`);
    for (const { number: seq, transaction, json } of rows) {
      chunk.seqs.push(seq);
      chunk.leaves += leafOf(json);
      chunk.end = { transaction, seq: (BigInt(seq) + 1n).toString() };
    }
    if (rows.length < entriesPerRead) break;
  }
  return chunk;
}

function nextSeal(keys: SealKeys, tenantId: string, last: Last, to: Position, { seqs, leaves }: Chunk): Seal {
  const { transactionOffset, root: previousRoot } = last;
  const hashes = Buffer.from(leaves, "latin1");
  const place = { tenantId, seal: last.seal + 1, from: last.to, to, transactionOffset };
  return sealed({ ...place, seqs, hashes, previousRoot, keyId: keys.keyId, sealedAt: new Date().toISOString() }, keys);
}

function noticeOf({ tenantId, seal, seqs, root, keyId, signature, sealedAt }: Seal): SealNotice {
  return { tenantId, seal, entries: seqs.length, root, keyId, signature, sealedAt };
}

interface StoredSeal extends Omit<SealNotice, "tenantId"> {
  toTransaction: string;
  toSeq: string;
  transactionOffset: string;
}

const sealColumns = `seal, cardinality(seqs) as entries, sealed_at as "sealedAt", to_transaction::text as "toTransaction", to_seq::text as "toSeq",
  transaction_offset::text as "transactionOffset", root, key_id as "keyId", signature`;

/**
 * The seal to build on, and a notice of it if it was not published yet. Throws a TrailFault if no known key signed it, or if it is not the
 * seal that was published last: then a person has to look.
 */
async function lastSeal(
  client: PoolClient,
  witness: SealWitness,
  tenantId: string,
  schema: string,
): Promise<{ last: Last; notices: SealNotice[] }> {
  const head = await witness.head(tenantId);
  const { rows } = await client.query<StoredSeal>(`select ${sealColumns} from ${schema}.audit_seals order by seal desc limit 1`);
  const [row] = rows;
  if (head && (row?.seal ?? 0) < head.seal) throw new TrailFault(`seal ${head.seal} has been removed`);
  if (!row) return { last: { ...origin, transactionOffset: "0" }, notices: [] };
  if (!isSigned(row, witness.publicKeys)) throw new TrailFault(`seal ${row.seal} is not signed by a known key`);
  if (head) {
    const root = Buffer.from(head.root, "hex");
    const known = await client.query(`select from ${schema}.audit_seals where seal = $1 and root = $2`, [head.seal, root]);
    if (known.rowCount === 0) throw new TrailFault(`seal ${head.seal} has been changed`);
  }
  const { seal, root, transactionOffset } = row;
  return {
    last: { seal, root, transactionOffset, to: { transaction: row.toTransaction, seq: row.toSeq } },
    notices: seal === head?.seal ? [] : [{ ...row, tenantId }],
  };
}

async function insertSeal(client: PoolClient, schema: string, seal: Seal): Promise<Seal> {
  const { from, to, transactionOffset, seqs, hashes, previousRoot, root, keyId, signature, sealedAt } = seal;
  await client.query(
    `insert into ${schema}.audit_seals (seal, from_transaction, from_seq, to_transaction, to_seq, transaction_offset, seqs, hashes,
      previous_root, root, key_id, signature, sealed_at) values ($1, $2, $3, $4, $5, $6, $7::bigint[], $8, $9, $10, $11, $12, $13)`,
    [
      seal.seal,
      from.transaction,
      from.seq,
      to.transaction,
      to.seq,
      transactionOffset,
      seqs,
      hashes,
      previousRoot,
      root,
      keyId,
      signature,
      sealedAt,
    ],
  );
  return seal;
}
