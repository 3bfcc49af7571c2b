import { createReadStream } from "node:fs";
import { open, stat } from "node:fs/promises";
import { createInterface } from "node:readline";
import type { Logger } from "@cell/http";
import { isEndSigned, isSigned, type SealHead, type SealNotice, type SealWitness, type TrailEnd } from "./seal.ts";

interface SealLine {
  tenantId: string;
  seal: number;
  entries: number;
  root: string;
  keyId: string;
  signature: string;
  sealedAt: string;
}

interface EndLine {
  tenantId: string;
  last: SealHead;
  keyId: string;
  signature: string;
  endedAt: string;
}

type Line = SealLine | EndLine;

/** Knows the seals outside the database: in this process, in the log and, if configured, in a file of JSON lines. */
export class SealLog implements SealWitness {
  readonly publicKeys: SealWitness["publicKeys"];
  readonly #file: string | undefined;
  readonly #log: Logger;
  readonly #heads = new Map<string, SealHead>();
  /** The file, and how much of it has been read. */
  #read = { inode: 0n, bytes: 0 };
  #reading: Promise<void> = Promise.resolve();

  /**
   * `file` may be rotated or copied away at any time, and other processes may append to it: it is opened again for each append and each
   * read.
   */
  constructor(publicKeys: SealWitness["publicKeys"], file: string | undefined, log: Logger) {
    this.publicKeys = publicKeys;
    this.#file = file;
    this.#log = log;
  }

  async head(tenantId: string): Promise<SealHead | undefined> {
    await this.#catchUp();
    return this.#heads.get(tenantId);
  }

  /** Publishes seals, oldest first; resolves when they are on disk. Rejects with the file's error; then only this process knows them. */
  async add(seals: readonly SealNotice[]): Promise<void> {
    await this.#catchUp();
    const lines = seals.map(lineOf);
    for (const line of lines) {
      this.#note(line);
      this.#log.info(line, "sealed");
    }
    await this.#append(lines);
  }

  /** Publishes the end of a trail and forgets its seals; resolves when that is on disk. Rejects with the file's error. */
  async end({ signature, ...end }: TrailEnd): Promise<void> {
    const line: EndLine = { ...end, signature: signature.toString("hex") };
    this.#log.info(line, "a sealed trail has ended");
    await this.#append([line]);
    this.#heads.delete(line.tenantId);
  }

  async #append(lines: readonly Line[]): Promise<void> {
    if (this.#file === undefined) return;
    const file = await open(this.#file, "a", 0o600);
    try {
      const { bytesWritten } = await file.write(lines.map((line) => `${JSON.stringify(line)}\n`).join(""));
      await file.datasync();
      const { ino: inode, size } = await file.stat({ bigint: true });
      const bytes = this.#read.bytes + bytesWritten;
      // No other process has appended since: there is nothing to read.
      if (Number(size) === bytes) this.#read = { inode, bytes };
    } finally {
      await file.close();
    }
  }

  /** Reads what any process has appended since the last read. */
  #catchUp(): Promise<void> {
    const before = this.#reading.catch(() => undefined);
    this.#reading = before.then(() => this.#readOn());
    return this.#reading;
  }

  async #readOn(): Promise<void> {
    if (this.#file === undefined) return;
    const { ino: inode, size } = await stat(this.#file, { bigint: true }).catch(absent);
    const end = Number(size);
    const start = inode === this.#read.inode && end >= this.#read.bytes ? this.#read.bytes : 0;
    if (start === end) return;
    // Only a tenant's last seal is worth verifying: it includes the earlier ones.
    const last = new Map<string, SealLine>();
    const settle = (tenantId: string) => {
      const line = last.get(tenantId);
      if (line && line.root !== this.#heads.get(tenantId)?.root && this.#isSigned(line)) this.#note(line);
      last.delete(tenantId);
    };
    const input = createReadStream(this.#file, { start, end: end - 1 });
    for await (const text of createInterface({ input, crlfDelay: Number.POSITIVE_INFINITY })) {
      const line = parseLine(text);
      if (!line) continue;
      if ("last" in line) {
        settle(line.tenantId);
        this.#endBy(line);
      } else if (line.seal >= (last.get(line.tenantId)?.seal ?? 0)) last.set(line.tenantId, line);
    }
    for (const tenantId of [...last.keys()]) settle(tenantId);
    this.#read = { inode, bytes: end };
  }

  #note({ tenantId, seal, root }: SealLine): void {
    if (seal > (this.#heads.get(tenantId)?.seal ?? 0)) this.#heads.set(tenantId, { seal, root });
  }

  /** Only the end of the known trail counts: an old line that was inserted again has no effect. */
  #endBy(line: EndLine): void {
    const { tenantId, last, signature } = line;
    if (this.#heads.get(tenantId)?.root !== last.root) return;
    if (isEndSigned({ ...line, signature: Buffer.from(signature, "hex") }, this.publicKeys)) this.#heads.delete(tenantId);
    else this.#log.error({ tenantId, seal: last.seal }, unknownKey);
  }

  #isSigned({ tenantId, seal, keyId, root, signature }: SealLine): boolean {
    const known = isSigned({ keyId, root: Buffer.from(root, "hex"), signature: Buffer.from(signature, "hex") }, this.publicKeys);
    if (!known) this.#log.error({ tenantId, seal }, unknownKey);
    return known;
  }
}

const unknownKey = "a line of the seal log is not signed by a known key";

function absent(error: NodeJS.ErrnoException): { ino: bigint; size: bigint } {
  if (error.code !== "ENOENT") throw error;
  return { ino: 0n, size: 0n };
}

function lineOf({ tenantId, seal, entries, root, keyId, signature, sealedAt }: SealNotice): SealLine {
  return { tenantId, seal, entries, root: root.toString("hex"), keyId, signature: signature.toString("hex"), sealedAt };
}

/** A line, or undefined for one that a crash truncated. */
function parseLine(text: string): Line | undefined {
  try {
    return JSON.parse(text) as Line;
  } catch {
    return undefined;
  }
}
