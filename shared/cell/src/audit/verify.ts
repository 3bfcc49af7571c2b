import { KeyedSemaphore, type TenantDb } from "@cell/postgres";
import { TimeSlices } from "../workers/time-slices.ts";
import { type EntryText, isSignedAsync, leafBytes, leafOf, origin, rootOf, type Seal, type SealWitness } from "./seal.ts";
import { beginning, Entries, isEntryBefore, type LastSeal, parseEntry, TrailReader } from "./trail-reader.ts";
import { type TableFault, tableFaultOf, tableFaults } from "./trail-tables.ts";

export const breakReasons = [
  "changed",
  "deleted",
  "inserted",
  "reordered",
  "seal_changed",
  "seal_missing",
  "tail_removed",
  "signature",
  "unsealed",
  ...tableFaults,
] as const;

/** The first place where a trail differs from what was sealed, or why reading it proves nothing. */
export interface Break {
  /** Null if the fault is in the tables themselves. */
  seal: number | null;
  entryId: string | null;
  seq: number | null;
  reason: (typeof breakReasons)[number];
}

export interface Verification {
  ok: boolean;
  /** Number of sealed entries found unchanged. */
  checked: number;
  /** Time of the last seal; later entries are not covered yet. */
  sealedUntil: string | null;
  /** Number of entries that are not sealed yet. */
  unsealed: number;
  /** When the oldest of them was written. */
  oldestUnsealedAt: string | null;
  firstBroken: Break | null;
}

/** An entry that waits longer than this for its seal could be changed without a trace: that is a fault. */
export const unsealedAfterMs = 60_000;
/** Limit of unexpected entries held in memory to find out what happened to them. */
const strangersAtMost = 1_000;
/** Seals made during a run are verified by it too, in at most this many rounds. */
const roundsAtMost = 4;

const underWay = new Map<string, Promise<Verification>>();
/** Limits runs over all tenants: each keeps one processor of the database busy. */
const runs = new KeyedSemaphore(2);

/**
 * Compares a tenant's trail with its seals from the beginning, in bounded memory and in time slices; concurrent calls share one run.
 * Rejects with the database's error.
 */
export function verifyTrail(tenant: TenantDb, witness: SealWitness): Promise<Verification> {
  const { tenantId } = tenant;
  let run = underWay.get(tenantId);
  if (!run) {
    run = verifyShared(tenant, witness).finally(() => underWay.delete(tenantId));
    underWay.set(tenantId, run);
  }
  return run;
}

async function verifyShared(tenant: TenantDb, witness: SealWitness): Promise<Verification> {
  const release = await runs.acquire("");
  try {
    return await new Run(tenant, witness).verify();
  } finally {
    release?.();
  }
}

/** One verification of a whole trail. */
class Run {
  readonly #tenant: TenantDb;
  readonly #witness: SealWitness;
  readonly #reader: TrailReader;
  readonly #turns = new TimeSlices();
  #checked = 0;
  #last: LastSeal | undefined;
  #previous: Pick<Seal, "seal" | "to" | "root"> = origin;

  constructor(tenant: TenantDb, witness: SealWitness) {
    this.#tenant = tenant;
    this.#witness = witness;
    this.#reader = new TrailReader(tenant);
  }

  async verify(): Promise<Verification> {
    // Read before the database: a published seal is already in there.
    const head = await this.#witness.head(this.#tenant.tenantId);
    const fault = await this.#tableFault();
    if (fault) return this.#result({ seal: null, entryId: null, seq: null, reason: fault });
    for (let round = 1; ; round++) {
      const firstBroken = await this.#readEntries(head);
      if (firstBroken) return this.#result(firstBroken);
      const { seal, to } = this.#previous;
      if (head && head.seal > seal) return this.#result({ seal: seal + 1, entryId: null, seq: null, reason: "tail_removed" });
      const from = seal === 0 ? beginning : to;
      const unsealed = await this.#reader.unsealed(from, this.#last?.transactionOffset ?? "0", unsealedAfterMs);
      if (unsealed.seal > seal && round < roundsAtMost) {
        this.#last = await this.#reader.lastSeal();
        continue;
      }
      const { overdueSeq: seq } = unsealed;
      const overdue = seq === null ? null : await this.#entryBreak(seal + 1, seq, "unsealed");
      return this.#result(overdue, unsealed);
    }
  }

  #result(firstBroken: Break | null, unsealed?: { count: number; oldestAt: string | null }): Verification {
    return {
      ok: firstBroken === null,
      checked: this.#checked,
      sealedUntil: this.#last?.sealedAt ?? null,
      unsealed: unsealed?.count ?? 0,
      oldestUnsealedAt: unsealed?.oldestAt ?? null,
      firstBroken,
    };
  }

  /** What is wrong with the tables themselves; checked twice, because an arriving tenant's transaction id offset may just have changed. */
  async #tableFault(): Promise<TableFault | undefined> {
    for (let inspect = 1; ; inspect++) {
      const fault = await tableFaultOf(this.#tenant, async () => {
        this.#last = await this.#reader.lastSeal();
        return this.#last?.transactionOffset ?? "0";
      });
      if (fault !== "default_changed" || inspect === 2) return fault;
    }
  }

  /** Verifies up to the last seal. Resolves to the first fault. */
  async #readEntries(head: { seal: number; root: string } | undefined): Promise<Break | null> {
    const last = this.#last;
    if (!last) return null;
    const { seal: done, to: start } = this.#previous;
    let entries = new Entries(this.#reader, done === 0 ? beginning : before(start), last.to);
    for (;;) {
      const seals = await this.#reader.seals(this.#previous.seal, last.seal);
      if (seals.length === 0) return null;
      const signed = seals.map((seal) => isSignedAsync(seal, this.#witness.publicKeys));
      for (const [index, seal] of seals.entries()) {
        const reason = faultOf(seal, this.#previous, head?.seal === seal.seal ? head.root : undefined);
        if (reason) return { seal: reason === "seal_missing" ? this.#previous.seal + 1 : seal.seal, entryId: null, seq: null, reason };
        if (!(await signed[index])) return { seal: seal.seal, entryId: null, seq: null, reason: "signature" };
        await this.#turns.pause();
        if (!(await this.#matches(seal, entries))) {
          const from = this.#previous.seal === 0 ? beginning : before(seal.from);
          const found = await this.#compare(seal, new Entries(this.#reader, from, seal.to));
          if (found) return found;
          entries = new Entries(this.#reader, before(seal.to), last.to);
        }
        this.#checked += seal.seqs.length;
        this.#previous = seal;
      }
    }
  }

  /** Whether the next entries are exactly those of the seal, in their order. */
  async #matches({ hashes, seqs, to }: Seal, entries: Entries): Promise<boolean> {
    for (let at = 0; at < seqs.length * leafBytes; at += leafBytes) {
      const json = entries.next ?? (await entries.read());
      if (!json || leafOf(json) !== hashes.toString("latin1", at, at + leafBytes)) return false;
      entries.skip();
      const pause = this.#turns.pause();
      if (pause) await pause;
    }
    const behind = entries.next ?? (await entries.read());
    return !behind || !isEntryBefore(behind, to);
  }

  /** The first entry in a seal's range that differs from what was sealed, or is missing. */
  async #compare(seal: Seal, entries: Entries): Promise<Break | null> {
    const missing = new Map(
      seal.seqs.map((seq, index) => [seq, seal.hashes.toString("latin1", index * leafBytes, (index + 1) * leafBytes)]),
    );
    const strangers: EntryText[] = [];
    for (let json = await entries.read(); json && strangers.length < strangersAtMost; json = await entries.read()) {
      const entry = parseEntry(json);
      const [seq] = entry;
      if (missing.get(seq) === leafOf(json)) missing.delete(seq);
      else strangers.push(entry);
      entries.skip();
      await this.#turns.pause();
    }
    const known = new Set(strangers.map(([seq]) => seq));
    const [gone] = [...missing.keys()].filter((seq) => !known.has(seq));
    const [first] = strangers;
    if (first && (gone === undefined || BigInt(first[0]) < BigInt(gone) || isMoved(first, missing)))
      return strange(seal, first, missing, strangers);
    if (gone === undefined) return null;
    const elsewhere = await this.#entryBreak(seal.seal, gone, "changed");
    return elsewhere.entryId === null ? { ...elsewhere, reason: "deleted" } : elsewhere;
  }

  async #entryBreak(seal: number, seq: string, reason: Break["reason"]): Promise<Break> {
    return { seal, entryId: (await this.#reader.idOf(seq)) ?? null, seq: Number(seq), reason };
  }
}

/** The position just before one: the entries after it are at that one or later. */
function before({ transaction, seq }: Seal["to"]): Seal["to"] {
  return { transaction, seq: (BigInt(seq) - 1n).toString() };
}

/** What is wrong with a seal itself apart from its signature, if anything. */
function faultOf(seal: Seal, previous: Pick<Seal, "seal" | "to" | "root">, known: string | undefined): Break["reason"] | undefined {
  if (seal.seal !== previous.seal + 1) return "seal_missing";
  const follows =
    seal.previousRoot.equals(previous.root) && seal.from.transaction === previous.to.transaction && seal.from.seq === previous.to.seq;
  const isWhole = seal.hashes.length === seal.seqs.length * leafBytes && rootOf(seal).equals(seal.root);
  return !follows || !isWhole || (known !== undefined && seal.root.toString("hex") !== known) ? "seal_changed" : undefined;
}

/** Describes an entry in a seal's range that differs from the sealed one. */
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
  return leafOf(JSON.stringify([seq, transaction, ...content])) === leaf;
}
