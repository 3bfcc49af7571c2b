import { type Parameters, statement, type TenantDb, tenantTables } from "@cell/postgres";
import { sql } from "kysely";
import {
  type EntryText,
  entryText,
  isBefore,
  isSigned,
  leafBytes,
  leafOf,
  origin,
  type Position,
  rootOf,
  type Seal,
  type SealWitness,
} from "./seal.ts";

export const breakReasons = [
  "changed",
  "deleted",
  "inserted",
  "reordered",
  "seal_changed",
  "seal_missing",
  "tail_removed",
  "signature",
] as const;

/** The first place where a trail is not what was sealed. */
export interface Break {
  seal: number;
  entryId: string | null;
  seq: number | null;
  reason: (typeof breakReasons)[number];
}

export interface Verification {
  ok: boolean;
  /** Sealed entries that were found as they were sealed. */
  checked: number;
  /** When the last seal was made; entries after it are not covered yet. */
  sealedUntil: string | null;
  firstBroken: Break | null;
}

interface TrailTables {
  auditLogs: object;
  auditSeals: StoredSeal;
}

interface StoredSeal {
  seal: number;
  fromTransaction: string;
  fromSeq: string;
  toTransaction: string;
  toSeq: string;
  transactionOffset: string;
  seqs: string[];
  hashes: Buffer;
  previousRoot: Buffer;
  root: Buffer;
  keyId: string;
  signature: Buffer;
  sealedAt: string;
}

const tables = tenantTables<TrailTables>();
const asText = (column: string) => sql<string>`${sql.ref(column)}::text`;

const lastSeal = statement((_: Parameters<object>) =>
  tables
    .selectFrom("auditSeals")
    .select(["seal", "sealedAt", asText("toTransaction").as("transaction"), asText("toSeq").as("seq")])
    .orderBy("seal", "desc")
    .limit(sql.lit(1)),
);

const sealsInOrder = statement((p: Parameters<{ last: number }>) =>
  tables
    .selectFrom("auditSeals")
    .select(["seal", "hashes", "previousRoot", "root", "keyId", "signature", "sealedAt", sql<string[]>`seqs::text[]`.as("seqs")])
    .select([asText("fromTransaction").as("fromTransaction"), asText("fromSeq").as("fromSeq"), asText("toTransaction").as("toTransaction")])
    .select([asText("toSeq").as("toSeq"), asText("transactionOffset").as("transactionOffset")])
    .where("seal", "<=", p.last)
    .orderBy("seal"),
);

const entry = entryText.as("entry");

const entriesInOrder = statement((p: Parameters<Position>) =>
  tables
    .selectFrom("auditLogs")
    .select(entry)
    .where(sql<boolean>`(transaction_id, seq) < (${p.transaction}::bigint, ${p.seq}::bigint)`)
    .orderBy("transactionId" as never)
    .orderBy("seq" as never),
);

const entryBySeq = statement((p: Parameters<{ seq: string }>) =>
  tables.selectFrom("auditLogs").select(entry).where(sql<boolean>`seq = ${p.seq}::bigint`),
);

const sealsPerRead = 32;
const entriesPerRead = 500;
/** How many entries that are not what was sealed are kept at most, to find out what became of them. */
const strangersAtMost = 1_000;

const underWay = new Map<string, Promise<Verification>>();

/** Compares a tenant's trail with its seals, in bounded memory; calls at the same time share one run. Rejects with the database's error. */
export function verifyTrail(tenant: TenantDb, witness: SealWitness): Promise<Verification> {
  const { tenantId } = tenant;
  let run = underWay.get(tenantId);
  if (!run) {
    run = verifyOnce(tenant, witness).finally(() => underWay.delete(tenantId));
    underWay.set(tenantId, run);
  }
  return run;
}

async function verifyOnce(tenant: TenantDb, witness: SealWitness): Promise<Verification> {
  const head = await witness.head(tenant.tenantId);
  const last = await tenant.first(lastSeal, {});
  const entries = new Entries(tenant, last ?? origin.to);
  const sealedUntil = last?.sealedAt ?? null;
  let checked = 0;
  let previous: Pick<Seal, "seal" | "to" | "root"> = origin;
  try {
    for await (const batch of tenant.stream(sealsInOrder, { last: last?.seal ?? 0 }, sealsPerRead)) {
      for (const row of batch) {
        const seal = sealOf(tenant.tenantId, row);
        const reason = faultOf(seal, previous, witness.publicKeys, head?.seal === seal.seal ? head.root : undefined);
        const firstBroken = reason
          ? { seal: reason === "seal_missing" ? previous.seal + 1 : seal.seal, entryId: null, seq: null, reason }
          : await compare(tenant, seal, entries);
        if (firstBroken) return { ok: false, checked, sealedUntil, firstBroken };
        checked += seal.seqs.length;
        previous = seal;
      }
    }
  } finally {
    await entries.close();
  }
  if (!head || head.seal <= previous.seal) return { ok: true, checked, sealedUntil, firstBroken: null };
  return { ok: false, checked, sealedUntil, firstBroken: { seal: previous.seal + 1, entryId: null, seq: null, reason: "tail_removed" } };
}

function sealOf(tenantId: string, row: StoredSeal): Seal {
  const { fromTransaction, fromSeq, toTransaction, toSeq, ...rest } = row;
  return { ...rest, tenantId, from: { transaction: fromTransaction, seq: fromSeq }, to: { transaction: toTransaction, seq: toSeq } };
}

/** What is wrong with a seal itself, if anything is. */
function faultOf(
  seal: Seal,
  previous: Pick<Seal, "seal" | "to" | "root">,
  keys: SealWitness["publicKeys"],
  known: string | undefined,
): Break["reason"] | undefined {
  if (seal.seal !== previous.seal + 1) return "seal_missing";
  const follows =
    seal.previousRoot.equals(previous.root) && seal.from.transaction === previous.to.transaction && seal.from.seq === previous.to.seq;
  const isWhole = seal.hashes.length === seal.seqs.length * leafBytes && rootOf(seal).equals(seal.root);
  if (!follows || !isWhole || (known !== undefined && seal.root.toString("hex") !== known)) return "seal_changed";
  return isSigned(seal, keys) ? undefined : "signature";
}

/** The entries before a position, in the order of the seals. */
class Entries {
  readonly #batches: AsyncGenerator<{ entry: EntryText }[]>;
  #batch: { entry: EntryText }[] = [];
  #index = 0;

  constructor(tenant: TenantDb, before: Position) {
    this.#batches = tenant.stream(entriesInOrder, { transaction: before.transaction, seq: before.seq }, entriesPerRead);
  }

  /** The next entry, if it comes before this position. */
  async next(before: Position): Promise<EntryText | undefined> {
    if (this.#index === this.#batch.length) {
      const { value } = await this.#batches.next();
      this.#batch = value ?? [];
      this.#index = 0;
    }
    const found = this.#batch[this.#index]?.entry;
    if (!found || !isBefore({ seq: found[0], transaction: found[1] }, before)) return undefined;
    this.#index++;
    return found;
  }

  async close(): Promise<void> {
    await this.#batches.return(undefined);
  }
}

/** The first entry of a seal's range that is not what was sealed, or is not there. */
async function compare(tenant: TenantDb, seal: Seal, entries: Entries): Promise<Break | null> {
  const missing = new Map(seal.seqs.map((seq, index) => [seq, seal.hashes.toString("latin1", index * leafBytes, (index + 1) * leafBytes)]));
  const strangers: EntryText[] = [];
  for (let found = await entries.next(seal.to); found && strangers.length < strangersAtMost; found = await entries.next(seal.to)) {
    const [seq] = found;
    if (missing.get(seq) === leafOf(found)) missing.delete(seq);
    else strangers.push(found);
  }
  const [gone] = [...missing.keys()].filter((seq) => !strangers.some((stranger) => stranger[0] === seq));
  const [first] = strangers;
  if (first && (gone === undefined || BigInt(first[0]) < BigInt(gone) || isMoved(first, missing)))
    return strange(seal, first, missing, strangers);
  if (gone === undefined) return null;
  const elsewhere = await tenant.first(entryBySeq, { seq: gone });
  return { seal: seal.seal, entryId: elsewhere?.entry[2] ?? null, seq: Number(gone), reason: elsewhere ? "changed" : "deleted" };
}

/** Names an entry that stands in a seal's range and is not what was sealed at its place. */
function strange(seal: Seal, entry: EntryText, missing: ReadonlyMap<string, string>, strangers: readonly EntryText[]): Break {
  const [seq, transaction, entryId] = entry;
  const leaf = missing.get(seq);
  const swapped = leaf && strangers.some((other) => isLeaf(leaf, other, seq, transaction) || isLeaf(leaf, other, seq, other[1]));
  const reason = swapped || isMoved(entry, missing) ? "reordered" : leaf ? "changed" : "inserted";
  return { seal: seal.seal, entryId, seq: Number(seq), reason };
}

/** Whether an entry is one of the missing ones under another number. */
function isMoved(entry: EntryText, missing: ReadonlyMap<string, string>): boolean {
  return [...missing].some(([seq, leaf]) => isLeaf(leaf, entry, seq, entry[1]));
}

function isLeaf(leaf: string, [, , ...content]: EntryText, seq: string, transaction: string): boolean {
  return leafOf([seq, transaction, ...content]) === leaf;
}
