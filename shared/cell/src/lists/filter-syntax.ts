import { badField, type Problem } from "@cell/problem";

/** Limits of one filter; the query parameter limits its length. */
export const filterLimits = { conditions: 50, depth: 5, values: 200 } as const;

export const operators = ["eq", "ne", "in", "gt", "gte", "lt", "lte", "contains", "isNull"] as const;

/** One parsed condition: `field[operator]:value`. */
export interface ParsedCondition {
  kind: "condition";
  field: string;
  operator: string;
  /** The value without its quotes; for `in`, each of its values. */
  values: string[];
  /** Start and end of the value in the filter's text. */
  from: number;
  to: number;
}

/** A filter as a tree: `and` binds tighter than `or`. */
export type ParsedFilter = ParsedCondition | { kind: "and" | "or"; parts: ParsedFilter[] };

const blank = /\s/;
const fieldPattern = /([A-Za-z][A-Za-z0-9.]*)\[([A-Za-z]+)\]:/y;
const operatorPattern = new RegExp(`\\[(?:${operators.join("|")})\\]:`);
const quoting = 'a value that holds " and ", " or ", a parenthesis or a condition needs double quotes';

/**
 * Parses `field[operator]:value` joined by `and`, `or` and parentheses; undefined for a blank text. A value ends at ` and `, ` or ` or a
 * parenthesis, unless it is in double quotes, where `\"` and `\\` escape. Takes linear time.
 * Throws BAD_REQUEST.
 */
export function parseFilterText(text: string): ParsedFilter | undefined {
  return new Scanner(text).whole();
}

/** All conditions of a filter, in the order of its text. */
export function conditionsIn(filter: ParsedFilter): ParsedCondition[] {
  return filter.kind === "condition" ? [filter] : filter.parts.flatMap(conditionsIn);
}

class Scanner {
  readonly #text: string;
  #at = 0;
  #conditions = 0;

  constructor(text: string) {
    this.#text = text;
  }

  whole(): ParsedFilter | undefined {
    this.#skipBlanks();
    if (this.#isAtEnd) return undefined;
    const filter = this.#alternatives(0);
    if (!this.#isAtEnd) throw this.#problem(`needs a "(" before it; ${quoting}`);
    return filter;
  }

  get #isAtEnd(): boolean {
    return this.#at >= this.#text.length;
  }

  #next(): string {
    return this.#text.charAt(this.#at);
  }

  #skipBlanks(): void {
    while (!this.#isAtEnd && blank.test(this.#next())) this.#at++;
  }

  #alternatives(depth: number): ParsedFilter {
    return this.#joined("or", () => this.#joined("and", () => this.#factor(depth)));
  }

  #joined(kind: "and" | "or", part: () => ParsedFilter): ParsedFilter {
    const first = part();
    const parts = [first];
    while (this.#takeWord(kind)) parts.push(part());
    return parts.length === 1 ? first : { kind, parts };
  }

  /** Parses a condition, or a filter in parentheses. */
  #factor(depth: number): ParsedFilter {
    this.#skipBlanks();
    if (this.#next() !== "(") return this.#condition();
    if (depth === filterLimits.depth)
      throw badField("filter", "TOO_LONG", `may nest parentheses at most ${filterLimits.depth} levels deep`);
    this.#at++;
    const inner = this.#alternatives(depth + 1);
    if (this.#next() !== ")") throw this.#problem('needs a ")" before it');
    this.#at++;
    this.#expectEnd();
    return inner;
  }

  #condition(): ParsedCondition {
    fieldPattern.lastIndex = this.#at;
    const match = fieldPattern.exec(this.#text);
    if (!match) throw this.#problem(`is not of the form field[op]:value; ${quoting}`);
    if (++this.#conditions > filterLimits.conditions)
      throw badField("filter", "TOO_LONG", `may have at most ${filterLimits.conditions} conditions`);
    const [{ length }, field = "", operator = ""] = match;
    this.#at += length;
    const isList = operator === "in";
    const [values, from] = [[] as string[], this.#at];
    for (;;) {
      const value = this.#value(isList);
      if (value === "")
        throw badField("filter", "INVALID_FORMAT", `${field}[${operator}] needs a value; ${field}[isNull]:true finds records without one`);
      values.push(value);
      const to = this.#at;
      this.#skipBlanks();
      if (!isList || this.#next() !== ",") return { kind: "condition", field, operator, values, from, to };
      if (values.length === filterLimits.values)
        throw badField("filter", "TOO_LONG", `${field}[in] takes at most ${filterLimits.values} values`);
      this.#at++;
    }
  }

  /** Parses a value up to its last character; "" if there is none. */
  #value(isInList: boolean): string {
    const before = this.#at;
    this.#skipBlanks();
    if (this.#next() === '"') return this.#quoted(isInList);
    if (this.#at > before && this.#wordAt(this.#at)) return "";
    const from = this.#at;
    let to = from;
    while (!this.#isAtEnd) {
      const char = this.#next();
      if (char === ")" || (isInList && char === ",")) break;
      if (char === "(") throw this.#problem(`has a parenthesis; ${quoting}`);
      if (!blank.test(char)) {
        to = ++this.#at;
        continue;
      }
      this.#skipBlanks();
      if (this.#wordAt(this.#at)) break;
    }
    this.#at = to;
    const value = this.#text.slice(from, to);
    if (operatorPattern.test(value))
      throw badField("filter", "INVALID_FORMAT", `"${value.slice(0, 60)}" needs "and" or "or" between its conditions; ${quoting}`);
    return value;
  }

  #quoted(isInList: boolean): string {
    const parts: string[] = [];
    let from = ++this.#at;
    for (; this.#next() !== '"'; this.#at++) {
      if (this.#isAtEnd) throw badField("filter", "INVALID_FORMAT", "has a double quote that is not closed");
      const escaped = this.#text.charAt(this.#at + 1);
      if (this.#next() !== "\\" || (escaped !== '"' && escaped !== "\\")) continue;
      parts.push(this.#text.slice(from, this.#at));
      from = ++this.#at;
    }
    parts.push(this.#text.slice(from, this.#at++));
    const ended = this.#at;
    if (!isInList || !this.#takeComma()) this.#expectEnd();
    this.#at = ended;
    return parts.join("");
  }

  #takeComma(): boolean {
    const at = this.#at;
    this.#skipBlanks();
    if (this.#next() === ",") return true;
    this.#at = at;
    return false;
  }

  /** After a complete condition, requires the end of the filter or of its parentheses, or `and` or `or`. */
  #expectEnd(): void {
    this.#skipBlanks();
    if (!this.#isAtEnd && this.#next() !== ")" && !this.#wordAt(this.#at)) throw this.#problem('needs "and" or "or" before it');
  }

  /** The whole word `and` or `or` at a position, in any case. */
  #wordAt(at: number): "and" | "or" | undefined {
    for (const word of ["and", "or"] as const) {
      const end = at + word.length;
      if (this.#text.slice(at, end).toLowerCase() !== word) continue;
      const next = this.#text.charAt(end);
      if (next === "" || next === "(" || blank.test(next)) return word;
    }
    return undefined;
  }

  #takeWord(word: "and" | "or"): boolean {
    this.#skipBlanks();
    if (this.#wordAt(this.#at) !== word) return false;
    this.#at += word.length;
    return true;
  }

  #problem(says: string): Problem {
    const rest = this.#text.slice(this.#at, this.#at + 60);
    return badField(
      "filter",
      "INVALID_FORMAT",
      rest === "" ? "ends where a condition or a closing parenthesis is missing" : `"${rest}" ${says}`,
    );
  }
}
