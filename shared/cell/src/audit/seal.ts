import { createHash, createPrivateKey, createPublicKey, hash, type KeyObject, sign, verify } from "node:crypto";
import { sql } from "kysely";

/** The key that signs, and all that are known to have signed, by their ids. */
export interface SealKeys {
  readonly keyId: string;
  readonly privateKey: KeyObject;
  readonly publicKeys: ReadonlyMap<string, KeyObject>;
}

/** Where an entry stands in the trail: entries are sealed by transaction, then by number. Both as decimal text. */
export interface Position {
  transaction: string;
  seq: string;
}

/** What a seal says, but for its root and signature. */
export interface SealContent {
  tenantId: string;
  /** From 1, without gaps. */
  seal: number;
  /** It covers the entries from here, where the seal before ends, */
  from: Position;
  /** up to here, exclusive. */
  to: Position;
  /** Added to the transaction ids of this database server, so that they go on where those of an earlier one ended. */
  transactionOffset: string;
  /** The numbers of its entries, in order. */
  seqs: readonly string[];
  /** Their leaves, of 32 bytes each, in the same order. */
  hashes: Buffer;
  previousRoot: Buffer;
  keyId: string;
  /** RFC 3339, UTC, milliseconds. */
  sealedAt: string;
}

export interface Seal extends SealContent {
  root: Buffer;
  /** Ed25519, over the root. */
  signature: Buffer;
}

/** A seal as it is handed out of the database: enough to know it again. */
export type SealNotice = Pick<Seal, "tenantId" | "seal" | "root" | "keyId" | "signature" | "sealedAt"> & { entries: number };

/** The last seal of a tenant as it is known outside of the database. */
export interface SealHead {
  seal: number;
  root: string;
}

/** The end of a trail whose tenant was dropped: what its id is used for next begins anew. */
export type TrailEnd = Pick<Seal, "tenantId" | "keyId" | "signature"> & { last: SealHead; endedAt: string };

/** What can be said of a tenant's seals without its database. */
export interface SealWitness {
  readonly publicKeys: ReadonlyMap<string, KeyObject>;
  head(tenantId: string): Promise<SealHead | undefined>;
}

/** All columns of one entry in a fixed order, as PostgreSQL's text. The first three: seq, transaction_id, id. */
export type EntryText = readonly [seq: string, transaction: string, id: string, ...rest: (string | null)[]];

/**
 * The expression for an entry's text: an EntryText as JSON, without white space between its elements and so without line breaks. Times as
 * seconds: their text would depend on the session.
 */
export const entryJson = sql<string>`array_to_json(array[seq::text, transaction_id::text, id::text, extract(epoch from occurred_at)::text,
  actor_id, actor_type, action, resource_type, resource_id, resource_name, resource_version::text, changes::text, request_id, import_id::text,
  ip, user_agent])::text`;

export const leafBytes = 32;
/** Where the first seal begins, and the root before it. */
export const origin: { seal: number; to: Position; root: Buffer } = {
  seal: 0,
  to: { transaction: "0", seq: "0" },
  root: Buffer.alloc(leafBytes),
};

/** The key that signs, from PEM. Throws an Error that says what it must be. */
export function parseSealKey(privatePem: string): KeyObject {
  return ed25519(() => createPrivateKey(privatePem), "a private key");
}

/** The key that signs, and the public ones of earlier seals. */
export function sealKeysOf(privateKey: KeyObject, earlier: readonly KeyObject[]): SealKeys {
  const publicKey = createPublicKey(privateKey);
  return { keyId: keyIdOf(publicKey), privateKey, publicKeys: new Map([publicKey, ...earlier].map((key) => [keyIdOf(key), key])) };
}

/** Public keys in PEM, one after the other. Throws an Error that says what they must be. */
export function parsePublicKeys(pems: string): KeyObject[] {
  const blocks = pems.split(/(?=-----BEGIN )/).filter((pem) => pem.trim() !== "");
  return blocks.map((pem) => ed25519(() => createPublicKey(pem), "public keys"));
}

function ed25519(read: () => KeyObject, what: string): KeyObject {
  let key: KeyObject;
  try {
    key = read();
  } catch (cause) {
    throw new Error(`must hold ${what} in PEM`, { cause });
  }
  if (key.asymmetricKeyType !== "ed25519") throw new Error(`must hold ${what} of the type Ed25519`);
  return key;
}

function keyIdOf(publicKey: KeyObject): string {
  return hash("sha256", publicKey.export({ type: "spki", format: "der" }), "hex").slice(0, 16);
}

/** The leaf of an entry, a byte a character, from its JSON text: every column counts, and none can pass for another. */
export function leafOf(json: string | Uint8Array): string {
  return hash("sha256", json, "binary");
}

/** The root over a seal's content: its place, the root before it and all its leaves. */
export function rootOf(content: SealContent): Buffer {
  const { tenantId, seal, from, to, transactionOffset, seqs, hashes, previousRoot, keyId, sealedAt } = content;
  const head = [
    "cell seal 1",
    tenantId,
    seal,
    from.transaction,
    from.seq,
    to.transaction,
    to.seq,
    transactionOffset,
    keyId,
    sealedAt,
    previousRoot.toString("hex"),
    seqs,
  ];
  return createHash("sha256").update(JSON.stringify(head)).update("\n").update(hashes).digest();
}

export function sealed(content: SealContent, { privateKey }: SealKeys): Seal {
  const root = rootOf(content);
  return { ...content, root, signature: sign(null, root, privateKey) };
}

type Signed = Pick<Seal, "keyId" | "root" | "signature">;

export function isSigned({ keyId, root, signature }: Signed, publicKeys: SealWitness["publicKeys"]): boolean {
  const key = publicKeys.get(keyId);
  return key !== undefined && verify(null, root, key, signature);
}

/** The same, computed on another thread: for many seals. */
export function isSignedAsync({ keyId, root, signature }: Signed, publicKeys: SealWitness["publicKeys"]): Promise<boolean> {
  const key = publicKeys.get(keyId);
  if (!key) return Promise.resolve(false);
  return new Promise((resolve) => verify(null, root, key, signature, (error, isValid) => resolve(!error && isValid)));
}

/** Says of a trail that it ends with its last seal. */
export function ended(tenantId: string, last: SealHead, { keyId, privateKey }: SealKeys): TrailEnd {
  const end = { tenantId, last, keyId, endedAt: new Date().toISOString() };
  return { ...end, signature: sign(null, endBytes(end), privateKey) };
}

export function isEndSigned(end: TrailEnd, publicKeys: SealWitness["publicKeys"]): boolean {
  return isSigned({ ...end, root: endBytes(end) }, publicKeys);
}

function endBytes({ tenantId, last, keyId, endedAt }: Omit<TrailEnd, "signature">): Buffer {
  return Buffer.from(JSON.stringify(["cell seal end 1", tenantId, last.seal, last.root, keyId, endedAt]));
}

/** Whether position `a` comes before `b`. */
export function isBefore(a: Position, b: Position): boolean {
  const [transactionA, transactionB] = [BigInt(a.transaction), BigInt(b.transaction)];
  return transactionA === transactionB ? BigInt(a.seq) < BigInt(b.seq) : transactionA < transactionB;
}
