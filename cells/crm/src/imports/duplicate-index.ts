import { hash, randomBytes } from "node:crypto";

const wordsPerSlot = 4;

/**
 * Finds the first row with a key. Holds a million keys of any length in some 30 MB, by a digest of 96 bits each, outside the heap: a Map of
 * as many texts would keep the garbage collector busy.
 */
export class DuplicateIndex {
  /** Open addressing: the digest in three words, and the row number; 0 is an empty slot. */
  #slots = new Uint32Array(wordsPerSlot * 1_024);
  #count = 0;
  /** A salt, so that nobody can choose keys that collide. */
  readonly #salt = randomBytes(16).toString("base64url");

  /** The earlier row with this key; undefined if this row (from 1) is the first. */
  add(key: string, row: number): number | undefined {
    const digest = hash("sha256", this.#salt + key, "buffer");
    const found = this.#put(digest.readUInt32LE(0), digest.readUInt32LE(4), digest.readUInt32LE(8), row);
    if (found === undefined && ++this.#count * wordsPerSlot * 2 > this.#slots.length) this.#grow();
    return found;
  }

  #put(a: number, b: number, c: number, row: number): number | undefined {
    const slots = this.#slots;
    for (let at = (a * wordsPerSlot) % slots.length; ; at = (at + wordsPerSlot) % slots.length) {
      const holder = slots[at + 3] ?? 0;
      if (holder === 0) {
        slots.set([a, b, c, row], at);
        return undefined;
      }
      if (slots[at] === a && slots[at + 1] === b && slots[at + 2] === c) return holder;
    }
  }

  #grow(): void {
    const before = this.#slots;
    this.#slots = new Uint32Array(before.length * 2);
    for (let at = 0; at < before.length; at += wordsPerSlot) {
      const [a = 0, b = 0, c = 0, row = 0] = before.subarray(at, at + wordsPerSlot);
      if (row !== 0) this.#put(a, b, c, row);
    }
  }
}
