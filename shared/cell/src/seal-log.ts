import { createReadStream, existsSync } from "node:fs";
import { open } from "node:fs/promises";
import { createInterface } from "node:readline";
import type { Logger } from "@cell/http";
import { isSigned, type SealHead, type SealNotice, type SealWitness } from "./seal.ts";

interface Line {
  tenantId: string;
  seal: number;
  entries: number;
  root: string;
  keyId: string;
  signature: string;
  sealedAt: string;
}

/** What is known of the seals outside of the database: in this process, in the log and, where there is one, in a file of JSON lines. */
export class SealLog implements SealWitness {
  readonly publicKeys: SealWitness["publicKeys"];
  readonly #file: string | undefined;
  readonly #log: Logger;
  #heads: Promise<Map<string, SealHead>> | undefined;

  /** `file` may be rotated or copied away at any time: it is opened anew for each append. */
  constructor(publicKeys: SealWitness["publicKeys"], file: string | undefined, log: Logger) {
    this.publicKeys = publicKeys;
    this.#file = file;
    this.#log = log;
  }

  async head(tenantId: string): Promise<SealHead | undefined> {
    return (await this.#known()).get(tenantId);
  }

  /** Hands seals out, oldest first; resolves when they are on disk. Rejects with the file's error; then they are known to this process alone. */
  async add(seals: readonly SealNotice[]): Promise<void> {
    const heads = await this.#known();
    const lines = seals.map(lineOf);
    for (const line of lines) {
      if (line.seal > (heads.get(line.tenantId)?.seal ?? 0)) heads.set(line.tenantId, { seal: line.seal, root: line.root });
      this.#log.info(line, "sealed");
    }
    if (this.#file === undefined) return;
    const file = await open(this.#file, "a", 0o600);
    try {
      await file.write(lines.map((line) => `${JSON.stringify(line)}\n`).join(""));
      await file.datasync();
    } finally {
      await file.close();
    }
  }

  #known(): Promise<Map<string, SealHead>> {
    this.#heads ??= this.#read();
    return this.#heads;
  }

  async #read(): Promise<Map<string, SealHead>> {
    const last = new Map<string, Line>();
    if (this.#file === undefined || !existsSync(this.#file)) return last;
    for await (const text of createInterface({ input: createReadStream(this.#file), crlfDelay: Number.POSITIVE_INFINITY })) {
      const line = parseLine(text);
      if (line && line.seal >= (last.get(line.tenantId)?.seal ?? 0)) last.set(line.tenantId, line);
    }
    const signed = [...last.values()].filter((line) => {
      const known = isSigned(
        { keyId: line.keyId, root: Buffer.from(line.root, "hex"), signature: Buffer.from(line.signature, "hex") },
        this.publicKeys,
      );
      if (!known) this.#log.error({ tenantId: line.tenantId, seal: line.seal }, "a line of the seal log is not signed by a known key");
      return known;
    });
    return new Map(signed.map(({ tenantId, seal, root }) => [tenantId, { seal, root }]));
  }
}

function lineOf({ tenantId, seal, entries, root, keyId, signature, sealedAt }: SealNotice): Line {
  return { tenantId, seal, entries, root: root.toString("hex"), keyId, signature: signature.toString("hex"), sealedAt };
}

/** A line, or undefined for one that a crash cut off. */
function parseLine(text: string): Line | undefined {
  try {
    return JSON.parse(text) as Line;
  } catch {
    return undefined;
  }
}
