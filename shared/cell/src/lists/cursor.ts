import { createCipheriv, createDecipheriv, randomBytes } from "node:crypto";
import { type AssertionKeys, derivedKeys } from "@cell/http";
import { badField } from "@cell/problem";
import { hasForm, type ListFields } from "./field-types.ts";
import type { SortKey } from "./sort.ts";

export interface Position {
  /** Identifies the tenant, list, filter and order of the cursor. */
  fingerprint: string;
  page: number;
  /** The total at the time of the first page. */
  total: number;
  totalIsLowerBound: boolean;
  /** The sort keys of the last row. */
  values: unknown[];
}

/** The order of a cursor. `isSensitive`: its keys are masked in the list, and so encrypted in the cursor. */
export interface CursorOrder {
  sort: readonly SortKey[];
  fields: ListFields;
  isSensitive: boolean;
}

const algorithm = "aes-256-gcm";
const [nonceBytes, tagBytes] = [12, 16] as const;

/**
 * Encodes cursors, which every process of a cell can decode. Those with sensitive values are encrypted: `<key id>.<nonce, text and tag>`.
 */
export class Cursors {
  readonly #keys: ReadonlyMap<string, Buffer>;
  readonly #first: string;

  constructor(keys: AssertionKeys) {
    this.#keys = new Map(derivedKeys(keys, "list cursors").map(({ id, key }) => [id, key]));
    this.#first = keys[0].id;
  }

  encode({ fingerprint, page, total, totalIsLowerBound, values }: Position, { isSensitive }: CursorOrder): string {
    const text = JSON.stringify([fingerprint, page, total, totalIsLowerBound, values]);
    return isSensitive ? this.#encrypt(text, fingerprint) : Buffer.from(text).toString("base64url");
  }

  /** Throws BAD_REQUEST for an invalid cursor, or one of another tenant, list, filter or order. */
  decode(cursor: string, fingerprint: string, { sort, fields, isSensitive }: CursorOrder): Position {
    const parsed = parsedJson(isSensitive ? this.#decrypt(cursor, fingerprint) : Buffer.from(cursor, "base64url").toString());
    if (!Array.isArray(parsed) || parsed.length !== 5) throw foreign();
    const [given, page, total, totalIsLowerBound, values] = parsed as unknown[];
    if (given !== fingerprint || !Number.isSafeInteger(page) || !Number.isSafeInteger(total) || typeof totalIsLowerBound !== "boolean")
      throw foreign();
    if (!Array.isArray(values) || values.length !== sort.length || !values.every((value, index) => isKey(value, sort[index], fields)))
      throw foreign();
    return { fingerprint, page: page as number, total: total as number, totalIsLowerBound, values };
  }

  #encrypt(text: string, fingerprint: string): string {
    const nonce = randomBytes(nonceBytes);
    const cipher = createCipheriv(algorithm, this.#keys.get(this.#first) as Buffer, nonce).setAAD(Buffer.from(fingerprint));
    const encrypted = Buffer.concat([nonce, cipher.update(text, "utf8"), cipher.final(), cipher.getAuthTag()]);
    return `${this.#first}.${encrypted.toString("base64url")}`;
  }

  #decrypt(cursor: string, fingerprint: string): string {
    const [id = "", encoded = ""] = cursor.split(".");
    const key = this.#keys.get(id);
    const bytes = Buffer.from(encoded, "base64url");
    if (!key || bytes.length <= nonceBytes + tagBytes) throw foreign();
    const decipher = createDecipheriv(algorithm, key, bytes.subarray(0, nonceBytes)).setAAD(Buffer.from(fingerprint));
    decipher.setAuthTag(bytes.subarray(-tagBytes));
    try {
      return Buffer.concat([decipher.update(bytes.subarray(nonceBytes, -tagBytes)), decipher.final()]).toString();
    } catch {
      throw foreign();
    }
  }
}

function parsedJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw foreign();
  }
}

/** Whether a value is valid as the row's sort key. */
function isKey(value: unknown, key: SortKey | undefined, fields: ListFields): boolean {
  const { type } = fields[key?.field ?? ""] ?? { type: "uuid" };
  // Stored values may be older than the form that a filter requires.
  if (type === "phone") return value === null || (typeof value === "string" && hasForm("text", value));
  return (
    value === null ||
    ((typeof value === "string" || typeof value === "number" || typeof value === "boolean") && hasForm(type, String(value)))
  );
}

function foreign() {
  return badField("cursor", "INVALID_FORMAT", "does not belong to this list with this filter and order; begin again without it");
}
