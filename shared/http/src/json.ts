import { badField, Problem } from "@cell/problem";
import Big from "big.js";

/** Nesting limit of a JSON text, in arrays and objects. */
export const mostDepth = 32;
/** Limit on the keys of a JSON text, in all its objects together. */
export const mostKeys = 1_000;

const quote = 34;
const minus = 45;
const [zero, nine, colon] = [48, 57, 58];
const [openBracket, backslash, closeBracket] = [91, 92, 93];
const [openBrace, closeBrace] = [123, 125];
/** A number of at most this many characters without an exponent is always exact. */
const exactLength = 15;

/**
 * Parses a JSON text that every parser reads the same: no duplicate key, no `__proto__`, no number that a double cannot hold, no NUL and no
 * lone surrogate. Throws BAD_REQUEST that names the path, also for more than `mostDepth` levels and `keysAtMost` keys.
 */
export function parseJson(text: string, keysAtMost = mostKeys): unknown {
  const { keys, inexact } = survey(text, keysAtMost);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new Problem("BAD_REQUEST", "The body is not well-formed JSON", { cause });
  }
  // JSON.parse rejects raw control characters, and UTF-8 has no lone surrogates: only escapes can stand for them.
  const counted = check(value, "", text.includes("\\u"));
  if (inexact) throw badField(pathOf(text, isInexact), "INVALID_FORMAT", "is a number that would lose digits: send it as a string");
  if (counted !== keys) throw badField(pathOf(text), "REPEATED", "is given more than once");
  return value;
}

/** Scans a text, well-formed or not, before it is parsed. Throws for too many levels or keys. */
function survey(text: string, keysAtMost: number): { keys: number; inexact: boolean } {
  let keys = 0;
  let depth = 0;
  let inexact = false;
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code === quote) at = endOfString(text, at);
    else if (code === colon) keys++;
    else if (code === openBrace || code === openBracket) {
      if (++depth > mostDepth) throw badField("", "TOO_DEEP", `is nested more than ${mostDepth} levels deep`);
    } else if (code === closeBrace || code === closeBracket) depth--;
    else if (code === minus || (code >= zero && code <= nine)) {
      const end = endOfNumber(text, at);
      inexact ||= isInexact(text.slice(at, end));
      at = end - 1;
    }
  }
  if (keys > keysAtMost) throw badField("", "TOO_LONG", `has more than ${keysAtMost} keys`);
  return { keys, inexact };
}

/** Index of the string's closing quote, or the end of the text; `start` is its opening quote. */
function endOfString(text: string, start: number): number {
  let at = start + 1;
  for (let code = text.charCodeAt(at); code !== quote && at < text.length; code = text.charCodeAt(at)) at += code === backslash ? 2 : 1;
  return at;
}

const afterNumber = /[^-+.0-9eE]|$/g;

function endOfNumber(text: string, start: number): number {
  afterNumber.lastIndex = start;
  return afterNumber.exec(text)?.index ?? text.length;
}

function isInexact(token: string): boolean {
  if (token.length <= exactLength && !/e/i.test(token)) return false;
  const number = Number(token);
  if (Number.isNaN(number)) return false;
  return !Number.isFinite(number) || !new Big(token).eq(number);
}

/** Counts the keys of a value. Throws for `__proto__`; if the text has escapes, also for strings with NUL or a lone surrogate. */
function check(value: unknown, path: string, escapes: boolean): number {
  if (typeof value === "string") {
    if (escapes && (value.includes("\0") || !value.isWellFormed()))
      throw badField(path, "INVALID_FORMAT", "holds a NUL or a lone surrogate");
    return 0;
  }
  if (typeof value !== "object" || value === null) return 0;
  let keys = 0;
  if (Array.isArray(value)) {
    for (let index = 0; index < value.length; index++) keys += check(value[index], join(path, String(index)), escapes);
    return keys;
  }
  for (const key of Object.keys(value)) {
    if (key === "__proto__") throw badField(join(path, key), "UNKNOWN_FIELD", "is not allowed as a field name");
    if (escapes) check(key, path, true);
    keys += 1 + check((value as Record<string, unknown>)[key], join(path, key), escapes);
  }
  return keys;
}

function join(path: string, name: string): string {
  return path === "" ? name : `${path}.${name}`;
}

const tokens = /"[^"\\]*(?:\\.[^"\\]*)*"|[{}[\],:]|[^\s"{}[\],:]+/g;

/** The path of the first duplicate key, or of the first number that satisfies `isWanted`, in a well-formed text. */
function pathOf(text: string, isWanted?: (number: string) => boolean): string {
  const open: { name: string | number | undefined; seen: Set<string> | undefined }[] = [];
  const path = () => open.map(({ name }) => name).join(".");
  for (const [token] of text.matchAll(tokens)) {
    const inner = open.at(-1);
    if (token === "[") open.push({ name: 0, seen: undefined });
    else if (token === "{") open.push({ name: undefined, seen: new Set() });
    else if (token === "]" || token === "}") open.pop();
    else if (token === "," && inner) inner.name = typeof inner.name === "number" ? inner.name + 1 : undefined;
    else if (inner?.seen && inner.name === undefined) {
      inner.name = JSON.parse(token) as string;
      if (!isWanted && inner.seen.has(inner.name)) return path();
      inner.seen.add(inner.name);
    } else if (isWanted && /^[-0-9]/.test(token) && isWanted(token)) return path();
  }
  return "";
}
