import { createHash } from "node:crypto";
import type { Readable } from "node:stream";
import { canonicalJson } from "@cell/cell";
import { JsonElements } from "@cell/http";
import { badField } from "@cell/problem";
import { mostColumns, mostHeading, mostRows, problem } from "./domain.ts";
import { bytesOf, mostRowBytes, tooManyRows, type Upload, type UploadedRow } from "./upload.ts";

/** A JSON import. */
export interface JsonUpload {
  /** The body without its items. */
  body: unknown;
  upload: Upload;
}

/** Characters of short items that are hashed together. */
const hashedAtOnce = 4_096;

const notAnObject = problem(null, "INVALID_FORMAT", "must be an object");

/** Parses the body of a JSON import: once it has arrived, its items are parsed one by one. `closed` is called after the last one. */
export async function uploadOfJson(incoming: Readable, closed: () => void): Promise<JsonUpload> {
  let held: JsonElements | undefined = new JsonElements({
    field: "items",
    elementsAtMost: mostRows,
    bytesPerElement: mostRowBytes,
    tooMany: tooManyRows,
  });
  for await (const chunk of bytesOf(incoming, true)) held.add(chunk);
  const body = held.end();
  const headings = new Set<string>();
  const digest = createHash("sha256");
  async function* rows(): AsyncGenerator<UploadedRow> {
    const elements = held;
    if (!elements) return;
    const [before, after] = aroundItems(body as object);
    let unhashed = before;
    for (let index = 0; index < elements.count; index++) {
      const text = elements.text(index);
      const item = elements.value(index, text);
      unhashed += `${index > 0 ? "," : ""}${canonicalJson(item)}`;
      if (unhashed.length > hashedAtOnce) {
        digest.update(unhashed);
        unhashed = "";
      }
      if (!isObject(item)) yield { line: null, characters: text.length, source: () => "{}", item: undefined, problems: [notAnObject] };
      else {
        collectKeys(item, index, headings);
        yield { line: null, characters: text.length, source: () => text, item, problems: [] };
      }
    }
    digest.update(unhashed + after);
  }
  const close = () => {
    held = undefined;
    closed();
  };
  return { body, upload: { rows: rows(), headings: () => [...headings], digest: () => digest.digest("hex"), close } };
}

/** The parts before and after the items in a body's canonical JSON. */
function aroundItems(body: object): [before: string, after: string] {
  const entries = Object.entries(body).sort(([one], [other]) => (one < other ? -1 : 1));
  const place = entries.findIndex(([name]) => name === "items");
  const [before, after] = [entries.slice(0, place), entries.slice(place + 1)].map((some) =>
    some.map(([name, value]) => `${JSON.stringify(name)}:${canonicalJson(value)}`),
  ) as [string[], string[]];
  return [`{${before.map((entry) => `${entry},`).join("")}"items":[`, `]${after.map((entry) => `,${entry}`).join("")}}`];
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function collectKeys(item: Record<string, unknown>, index: number, headings: Set<string>): void {
  for (const key of Object.keys(item)) {
    if (headings.has(key)) continue;
    if (key.length > mostHeading) throw badField(`items.${index}`, "TOO_LONG", `has a field name of more than ${mostHeading} characters`);
    headings.add(key);
    if (headings.size > mostColumns) throw badField("items", "TOO_LONG", `may have at most ${mostColumns} different fields`);
  }
}
