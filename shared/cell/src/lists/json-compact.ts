const [quote, comma, backslash, minus, dot, zero] = [0x22, 0x2c, 0x5c, 0x2d, 0x2e, 0x30] as const;
const [nine, colon, closeBracket, closeBrace] = [0x39, 0x3a, 0x5d, 0x7d] as const;
/** A number of at most this many characters is always exact in a double. */
const exactLength = 15;
/** The length of `0.000001`, the smallest power of ten that JavaScript writes without an exponent. */
const shortFraction = 8;

/**
 * Writes well-formed JSON to `out` as `JSON.stringify` would write its value: without white space. Returns its end there; -1 for values
 * that JavaScript writes in another form, such as 1.50, 1e-7 or objects with integer keys, which it puts first.
 */
export function compactJson(bytes: Buffer, from: number, end: number, out: Buffer, start: number): number {
  let to = start;
  let stringFrom = from;
  for (let at = from; at < end; ) {
    const byte = bytes[at] as number;
    if (byte === quote) {
      stringFrom = at;
      const next = endOfString(bytes, at, end);
      to = copyBytes(bytes, at, next, out, to);
      at = next;
    } else if (byte === minus || isDigit(byte)) {
      const next = endOfNumber(bytes, at, end);
      if (!isWrittenSo(bytes, at, next)) return -1;
      to = copyBytes(bytes, at, next, out, to);
      at = next;
    } else {
      if (byte === colon && isDigit(bytes[stringFrom + 1] as number)) return -1;
      if (!isSpace(byte)) out[to++] = byte;
      at++;
    }
  }
  return to;
}

/** Copies texts too short for `Buffer.copy` to pay off; returns the end of the copy. */
export function copyBytes(bytes: Buffer, from: number, end: number, out: Buffer, start: number): number {
  let to = start;
  for (let at = from; at < end; at++) out[to++] = bytes[at] as number;
  return to;
}

function endOfString(bytes: Buffer, start: number, end: number): number {
  for (let at = start + 1; at < end; at++) {
    if (bytes[at] === backslash) at++;
    else if (bytes[at] === quote) return at + 1;
  }
  return end;
}

function endOfNumber(bytes: Buffer, start: number, end: number): number {
  let at = start + 1;
  while (at < end && !endsNumber(bytes[at] as number)) at++;
  return at;
}

function endsNumber(byte: number): boolean {
  return byte === comma || byte === closeBrace || byte === closeBracket || isSpace(byte);
}

/**
 * Whether JavaScript writes a number in the same form: a short one without an exponent, whose fraction neither ends with a zero nor begins
 * with many.
 */
function isWrittenSo(bytes: Buffer, from: number, end: number): boolean {
  if (end - from > exactLength || (bytes[from] === minus && bytes[from + 1] === zero && end - from === 2)) return false;
  let hasDot = false;
  for (let at = from; at < end; at++) {
    const byte = bytes[at] as number;
    if (byte === dot) hasDot = true;
    else if (byte !== minus && !isDigit(byte)) return false;
  }
  return !hasDot || (bytes[end - 1] !== zero && !isTiny(bytes, from, end));
}

/** Whether a fraction has so many leading zeros that JavaScript writes it with an exponent. */
function isTiny(bytes: Buffer, from: number, end: number): boolean {
  const first = bytes[from] === minus ? from + 1 : from;
  for (let at = first; at < first + shortFraction; at++) {
    if (at >= end || (bytes[at] !== zero && bytes[at] !== dot)) return false;
  }
  return true;
}

function isDigit(byte: number): boolean {
  return byte >= zero && byte <= nine;
}

function isSpace(byte: number): boolean {
  return byte === 0x20 || (byte >= 0x09 && byte <= 0x0d);
}
