/** The effect of a statement on a transaction. */
type Kind = "begin" | "commit" | "rollback" | "write" | "other";

const sslRequest = 80_877_103;
const gssRequest = 80_877_104;
const cancelRequest = 80_877_102;

/** Parses what a client sends to PostgreSQL and finds the messages that commit a write: a `commit`, or a write outside a transaction. */
export class CommitWatch {
  #rest: Buffer = Buffer.alloc(0);
  #started = false;
  #inTransaction = false;
  readonly #kinds = new Map<string, Kind>();

  /** Reads the next bytes. True if they contain a commit. */
  see(chunk: Buffer): boolean {
    this.#rest = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    let committing = false;
    for (;;) {
      const head = this.#started ? 1 : 0;
      if (this.#rest.length < head + 4) return committing;
      const end = head + this.#rest.readUInt32BE(head);
      if (this.#rest.length < end) return committing;
      const message = this.#rest.subarray(0, end);
      this.#rest = this.#rest.subarray(end);
      if (this.#started) committing = this.#message(message) || committing;
      else this.#started = ![sslRequest, gssRequest, cancelRequest].includes(message.readUInt32BE(4));
    }
  }

  #message(message: Buffer): boolean {
    const type = String.fromCharCode(message[0] ?? 0);
    const [first = "", second = ""] = message.toString("latin1", 5).split("\0", 2);
    if (type === "P") this.#kinds.set(first, kindOf(second));
    if (type === "Q") return this.#runs(kindOf(first));
    if (type === "B") return this.#runs(this.#kinds.get(second) ?? "other");
    return false;
  }

  #runs(kind: Kind): boolean {
    const commits = kind === "commit" || (kind === "write" && !this.#inTransaction);
    if (kind === "begin") this.#inTransaction = true;
    if (kind === "commit" || kind === "rollback") this.#inTransaction = false;
    return commits;
  }
}

function kindOf(text: string): Kind {
  const [, word = ""] = /^\s*(begin|commit|rollback)\b/i.exec(text) ?? [];
  if (word !== "") return word.toLowerCase() as Kind;
  return /^with (claim|change_0|audit) as \(/.test(text) ? "write" : "other";
}

/** Whether a response of PostgreSQL is complete: it ends with ReadyForQuery. */
export function isWhole(response: Buffer): boolean {
  return response.length >= 6 && response.toString("latin1", response.length - 6, response.length - 1) === "Z\0\0\0\x05";
}
