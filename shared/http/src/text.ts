/**
 * Limit on consecutive combining marks, as in Unicode's stream-safe text format (UAX #15): beyond it, ordering them takes quadratic time.
 */
export const mostMarks = 30;
/** NFC composes at most this many UTF-16 units into one: a longer text cannot become short enough. */
const composedOf = 4;

/** Printable ASCII: normalization does not change it. */
const plain = /^[\x20-\x7e]*$/;
/** Characters that combine with the one before them; the halfwidth sound marks do so in NFKC. */
const markRuns = /[\p{M}\uFF9E\uFF9F]+/gu;
/**
 * White space, controls and characters that Unicode lets programs leave out (`Default_Ignorable_Code_Point`): a text of only these shows
 * nothing.
 */
const invisible = /^[\p{White_Space}\p{Default_Ignorable_Code_Point}\p{Cc}\u2800]*$/u;
/** The same without white space. */
const ignorable = /(?!\p{White_Space})[\p{Default_Ignorable_Code_Point}\p{Cc}]/gu;
const blanks = /[\p{White_Space}\u2800]+/gu;
const nextLine = 0x85;

/** A text without surrounding white space: Unicode's `White_Space` and the byte order mark. */
export function trimmed(text: string): string {
  const inner = text.trim();
  // The only white space that JavaScript's trim leaves.
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

/** Trims every text in a parsed JSON value in place, down to `levels`; field names stay. Returns the value. */
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

/** Whether a text shows nothing: it is empty or has only white space and invisible characters. */
export function isInvisible(text: string): boolean {
  const first = text.charCodeAt(0);
  return !(first > 0x20 && first < 0x7f) && invisible.test(text);
}

/** A text in its stored form, or why it cannot be stored. */
export type StorableText = { text: string } | { fault: string };

/**
 * A text in its stored form: trimmed and in NFC, "" if it shows nothing. A text that cannot become `most` characters or fewer is replaced
 * by one of `most + 1` before it is normalized: validation finds it too long, and the cost stays proportional to its length.
 */
export function storable(given: string, most: number): StorableText {
  const text = trimmed(given);
  // A placeholder instead of a prefix: validation may count code points, of which a prefix has fewer, or a split one.
  if (text.length > most * composedOf) return { text: "x".repeat(most + 1) };
  if (plain.test(text)) return { text };
  if (!text.isWellFormed() || text.includes("\0")) return { fault: "holds a NUL or a lone surrogate" };
  if (hasLongMarkRun(text)) return { fault: `holds more than ${mostMarks} combining marks in a row` };
  return { text: isInvisible(text) ? "" : text.normalize("NFC") };
}

function hasLongMarkRun(text: string): boolean {
  for (const [run] of text.matchAll(markRuns)) if (run.length > mostMarks && Array.from(run).length > mostMarks) return true;
  return false;
}

/**
 * The form in which names, numbers and references are compared: Unicode's NFKC_Casefold with collapsed white space, so that case, width,
 * compatibility forms and invisible characters make no difference. Case folding goes by upper case, so that ẞ, ß and ss are equal, and ς
 * and σ.
 * Takes quadratic time at worst: only for texts that passed `storable`.
 */
export function nameKey(name: string): string {
  if (plain.test(name)) return name.toLowerCase().replace(/ +/g, " ").trim();
  const visible = name.replace(ignorable, "");
  const folded = visible.normalize("NFKC").toLowerCase().toUpperCase().toLowerCase().normalize("NFKC");
  return folded.replace(ignorable, "").replace(blanks, " ").trim();
}
