import { createHash, createPrivateKey, createPublicKey, hash, type KeyObject, sign, verify } from "node:crypto";
import { sql } from "kysely";

/** The signing key, and the public keys that may have signed, by id. */
export interface SealKeys {
  readonly keyId: string;
  readonly privateKey: KeyObject;
  readonly publicKeys: ReadonlyMap<string, KeyObject>;
}

/** A position in the trail, which is ordered by transaction, then by number. Both as decimal text. */
export interface Position {
  transaction: string;
  seq: string;
}

/** The content of a seal, without its root and signature. */
export interface SealContent {
  tenantId: string;
  /** From 1, without gaps. */
  seal: number;
  /** It covers the entries from here, where the previous seal ends, */
  from: Position;
  /** up to here, exclusive. */
  to: Position;
  /** Added to this database server's transaction ids, so that they continue those of an earlier server. */
  transactionOffset: string;
  /** The numbers of its entries, in order. */
  seqs: readonly string[];
  /** Their leaves of 32 bytes each, in the same order. */
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

/** A seal as it is published outside the database: enough to recognize it. */
export type SealNotice = Pick<Seal, "tenantId" | "seal" | "root" | "keyId" | "signature" | "sealedAt"> & { entries: number };

/** The last seal of a tenant as it is known outside the database. */
export interface SealHead {
  seal: number;
  root: string;
}

/** The end of the trail of a dropped tenant: a new tenant with its id begins a new trail. */
export type TrailEnd = Pick<Seal, "tenantId" | "keyId" | "signature"> & { last: SealHead; endedAt: string };

/** What is known of a tenant's seals without its database. */
export interface SealWitness {
  readonly publicKeys: ReadonlyMap<string, KeyObject>;
  head(tenantId: string): Promise<SealHead | undefined>;
}

/** All columns of one entry in a fixed order, as PostgreSQL's text. The first three: seq, transaction_id, id. */
export type EntryText = readonly [seq: string, transaction: string, id: string, ...rest: (string | null)[]];

/**
 * SQL expression for an EntryText as JSON, without white space between its elements and so without line breaks. Times are in seconds: their
 * text would depend on the session.
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

/** The signing key from PEM. Throws an Error that says what it must be. */
export function parseSealKey(privatePem: string): KeyObject {
  return ed25519(() => createPrivateKey(privatePem), "a private key");
}

/** The signing key and the public keys of earlier seals. */
export function sealKeysOf(privateKey: KeyObject, earlier: readonly KeyObject[]): SealKeys {
  const publicKey = createPublicKey(privateKey);
  return { keyId: keyIdOf(publicKey), privateKey, publicKeys: new Map([publicKey, ...earlier].map((key) => [keyIdOf(key), key])) };
}

/** Concatenated public keys in PEM. Throws an Error that says what they must be. */
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

/** The leaf of an entry as a binary string, from its JSON text: every column counts, and no two entries share a leaf. */
export function leafOf(json: string | Uint8Array): string {
  return hash("sha256", json, "binary");
}

/** The root over a seal's content: its range, the previous root and all its leaves. */
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

/** The same on another thread, for many seals. */
export function isSignedAsync({ keyId, root, signature }: Signed, publicKeys: SealWitness["publicKeys"]): Promise<boolean> {
  const key = publicKeys.get(keyId);
  if (!key) return Promise.resolve(false);
  return new Promise((resolve) => verify(null, root, key, signature, (error, isValid) => resolve(!error && isValid)));
}

/** Signs that a trail ends with its last seal. */
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
