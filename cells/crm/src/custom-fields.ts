import { inStoredOrder } from "@cell/cell";
import { storable } from "@cell/http";
import Big from "big.js";
import { z } from "zod";

export const mostCustomFields = 100;
/** Size limit of a record's custom fields as JSON. */
export const mostCustomFieldBytes = 64 * 1024;
const mostKeyCharacters = 64;

type CustomFields = Record<string, unknown>;

/** A part of the custom fields that cannot be stored, and its path. */
interface Fault {
  path: (string | number)[];
  code: string;
  message: string;
}

/** The custom fields of a record: any JSON within the limits. */
export function customFields() {
  return z
    .record(z.string(), z.unknown())
    .check((payload) => {
      const faults: Fault[] = [];
      const stored = storedFields(payload.value, faults);
      for (const { path, code, message } of faults)
        payload.issues.push({ code: "custom", input: payload.value, path, message, params: { code }, continue: false });
      payload.value = stored;
    })
    .meta({
      description: `${mostCustomFields} keys and ${mostCustomFieldBytes / 1024} KB of JSON at most`,
      propertyNames: { type: "string", minLength: 1, maxLength: mostKeyCharacters },
    });
}

/** Why custom fields exceed the limits; undefined if they do not. */
export function excessOf(fields: CustomFields): string | undefined {
  if (Object.keys(fields).length > mostCustomFields) return `may have at most ${mostCustomFields} keys`;
  if (Buffer.byteLength(JSON.stringify(fields)) + abbreviatedBytes(fields) > mostCustomFieldBytes)
    return `may have at most ${mostCustomFieldBytes} bytes as JSON`;
  return undefined;
}

/** How many bytes longer PostgreSQL writes the numbers of a value than JSON does: 1e308 is read from it as 309 digits. */
function abbreviatedBytes(value: unknown): number {
  if (typeof value === "number") {
    const text = String(value);
    return text.includes("e") ? new Big(value).toFixed().length - text.length : 0;
  }
  if (typeof value !== "object" || value === null) return 0;
  let bytes = 0;
  for (const inner of Object.values(value)) bytes += abbreviatedBytes(inner);
  return bytes;
}

function storedFields(given: CustomFields, faults: Fault[]): CustomFields {
  const excess = excessOf(given);
  if (excess) {
    faults.push({ path: [], code: "TOO_LONG", message: excess });
    return given;
  }
  const stored: [string, unknown][] = [];
  const seen = new Set<string>();
  for (const [key, value] of Object.entries(given)) {
    const name = storable(key, mostKeyCharacters);
    if ("fault" in name) faults.push({ path: [key], code: "INVALID_FORMAT", message: `as a key ${name.fault}` });
    else if (name.text === "") faults.push({ path: [key], code: "REQUIRED", message: "as a key must not be empty" });
    else if (name.text.length > mostKeyCharacters)
      faults.push({ path: [name.text], code: "TOO_LONG", message: `as a key must have at most ${mostKeyCharacters} characters` });
    else if (seen.has(name.text)) faults.push({ path: [name.text], code: "INVALID_FORMAT", message: "is given more than once" });
    else {
      seen.add(name.text);
      stored.push([name.text, storedValue(value, [key], faults)]);
    }
  }
  return inStoredOrder(Object.fromEntries(stored)) as CustomFields;
}

/** A value with its texts in their stored form. */
function storedValue(value: unknown, path: (string | number)[], faults: Fault[]): unknown {
  if (typeof value === "string") {
    const text = storable(value, mostCustomFieldBytes);
    if ("text" in text) return text.text;
    faults.push({ path, code: "INVALID_FORMAT", message: text.fault });
    return value;
  }
  if (Array.isArray(value)) return value.map((item, index) => storedValue(item, [...path, index], faults));
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, storedValue(item, [...path, key], faults)]));
}
