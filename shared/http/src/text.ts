/** Combining marks that may follow each other, as in the stream-safe text format of Unicode (UAX #15): past that, ordering them is quadratic. */
export const mostMarks = 30;
/** NFC composes at most so many UTF-16 units into one: a longer text cannot come out short enough. */
const composedOf = 4;

/** Printable ASCII: nothing in it has another form. */
const plain = /^[\x20-\x7e]*$/;
/** What combines with what stands before it; the halfwidth sound marks do so in NFKC. */
const markRuns = /[\p{M}\uFF9E\uFF9F]+/gu;
/** Blanks, controls and what Unicode lets programs leave out (`Default_Ignorable_Code_Point`): of these alone a text shows nothing. */
const invisible = /^[\p{White_Space}\p{Default_Ignorable_Code_Point}\p{Cc}\u2800]*$/u;
/** The same but for blanks. */
const ignorable = /(?!\p{White_Space})[\p{Default_Ignorable_Code_Point}\p{Cc}]/gu;
const blanks = /[\p{White_Space}\u2800]+/gu;
const nextLine = 0x85;

/** A text without the blanks around it: Unicode's `White_Space` and the byte order mark. */
export function trimmed(text: string): string {
  const inner = text.trim();
  // The one blank that JavaScript does not trim.
  if (inner.charCodeAt(0) !== nextLine && inner.charCodeAt(inner.length - 1) !== nextLine) return inner;
  let from = 0;
  let end = inner.length;
  while (from < end && isBlank(inner, from)) from++;
  while (end > from && isBlank(inner, end - 1)) end--;
  return inner.slice(from, end);
}

function isBlank(text: string, at: number): boolean {
  return text.charCodeAt(at) === nextLine || text.charAt(at).trim() === "";
}

/** Trims every text within a parsed JSON value, so many levels deep, in place; names of fields stay. Returns the value. */
export function trimTexts(value: unknown, levels = Number.POSITIVE_INFINITY): unknown {
  if (typeof value === "string") return trimmed(value);
  if (typeof value !== "object" || value === null || levels === 0) return value;
  if (Array.isArray(value)) {
    for (let index = 0; index < value.length; index++) value[index] = trimTexts(value[index], levels - 1);
    return value;
  }
  const object = value as Record<string, unknown>;
  for (const name of Object.keys(object)) object[name] = trimTexts(object[name], levels - 1);
  return value;
}

/** Whether a text shows nothing: it is empty, or of blanks and invisible characters alone. */
export function isInvisible(text: string): boolean {
  const first = text.charCodeAt(0);
  return !(first > 0x20 && first < 0x7f) && invisible.test(text);
}

/** What a text is stored as, or why it cannot be stored. */
export type StorableText = { text: string } | { fault: string };

/**
 * A text as it is stored: trimmed and in NFC; "" where it shows nothing. One that cannot become `most` characters or less is replaced by
 * one of `most + 1`, before anything is made of it: its reader finds it too long, and nothing costs more than its length.
 */
export function storable(given: string, most: number): StorableText {
  const text = trimmed(given);
  // Not a part of the text: its reader may count characters, of which a part has fewer, or half of one.
  if (text.length > most * composedOf) return { text: "x".repeat(most + 1) };
  if (plain.test(text)) return { text };
  if (!text.isWellFormed() || text.includes("\0")) return { fault: "holds a NUL or half a character" };
  if (hasLongMarkRun(text)) return { fault: `holds more than ${mostMarks} combining marks in a row` };
  return { text: isInvisible(text) ? "" : text.normalize("NFC") };
}

function hasLongMarkRun(text: string): boolean {
  for (const [run] of text.matchAll(markRuns)) if (run.length > mostMarks && Array.from(run).length > mostMarks) return true;
  return false;
}

/**
 * The form in which names, numbers and references are compared: Unicode's NFKC_Casefold with blanks collapsed, so that case, width,
 * compatibility forms and invisible characters make no difference. Cased by way of upper case, so that ẞ, ß and ss meet, and ς and σ.
 * Takes as long as the square of the text's length at worst: for texts that `storable` has let through.
 */
export function nameKey(name: string): string {
  if (plain.test(name)) return name.toLowerCase().replace(/ +/g, " ").trim();
  const visible = name.replace(ignorable, "");
  const folded = visible.normalize("NFKC").toLowerCase().toUpperCase().toLowerCase().normalize("NFKC");
  return folded.replace(ignorable, "").replace(blanks, " ").trim();
}
