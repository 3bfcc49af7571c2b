import { badField, Problem } from "@cell/problem";
import Big from "big.js";

/** How many levels of arrays and objects a JSON text may have. */
export const mostDepth = 32;
/** How many keys a JSON text may have, in all its objects together. */
export const mostKeys = 1_000;

const quote = 34;
const minus = 45;
const [zero, nine, colon] = [48, 57, 58];
const [openBracket, backslash, closeBracket] = [91, 92, 93];
const [openBrace, closeBrace] = [123, 125];
/** So many characters of a number without an exponent are always exact. */
const exactLength = 15;

/**
 * The value of a JSON text that every reader would take for the same: no key twice in an object, no `__proto__`, no number that a double
 * cannot carry, no NUL and no half character. Throws BAD_REQUEST that names the path, also past `mostDepth` and `keysAtMost`.
 */
export function parseJson(text: string, keysAtMost = mostKeys): unknown {
  const { keys, inexact } = survey(text, keysAtMost);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new Problem("BAD_REQUEST", "The body is not well-formed JSON", { cause });
  }
  // Raw control characters are no JSON and half characters no UTF-8: only escapes can stand for them.
  const counted = check(value, "", text.includes("\\u"));
  if (inexact) throw badField(pathOf(text, isInexact), "INVALID_FORMAT", "is a number that loses digits on the way: send it as a string");
  if (counted !== keys) throw badField(pathOf(text), "REPEATED", "is given more than once");
  return value;
}

/** Goes through a text, well-formed or not, before anything is made of it. Throws for too many levels or keys. */
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

/** Where the string that begins at `start` ends: its closing quote, or the text's end. */
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

/** Counts the keys of a value. Throws for `__proto__`, and where escapes stood in the text, for strings that no text should hold. */
function check(value: unknown, path: string, escapes: boolean): number {
  if (typeof value === "string") {
    if (escapes && (value.includes("\0") || !value.isWellFormed()))
      throw badField(path, "INVALID_FORMAT", "holds a NUL or half a character");
    return 0;
  }
  if (typeof value !== "object" || value === null) return 0;
  let keys = 0;
  if (Array.isArray(value)) {
    for (let index = 0; index < value.length; index++) keys += check(value[index], join(path, String(index)), escapes);
    return keys;
  }
  for (const key of Object.keys(value)) {
    if (key === "__proto__") throw badField(join(path, key), "UNKNOWN_FIELD", "is no name for a field");
    if (escapes) check(key, path, true);
    keys += 1 + check((value as Record<string, unknown>)[key], join(path, key), escapes);
  }
  return keys;
}

function join(path: string, name: string): string {
  return path === "" ? name : `${path}.${name}`;
}

const tokens = /"[^"\\]*(?:\\.[^"\\]*)*"|[{}[\],:]|[^\s"{}[\],:]+/g;

/** The path of the first key that is there twice, or of the first number that `isWanted`, in a well-formed text. */
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
