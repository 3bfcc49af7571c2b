import type { Rows, Shape } from "@cell/postgres";
import { type Clearance, isHidden, mask } from "./masking.ts";
import { formatMoney } from "./money.ts";
import { type Field, fieldsOf, type Presenter } from "./resource.ts";

const [quote, comma, backslash, plus, dot, zero] = [0x22, 0x2c, 0x5c, 0x2b, 0x2e, 0x30] as const;
const [letterT, letterZ, firstVisible] = [0x54, 0x5a, 0x20] as const;

/** What every form may write beyond the bytes of its value. */
const slack = 64;
/** `2026-11-21 08:00:00`, as PostgreSQL writes a time up to its fraction. */
const secondsLength = 19;

/** How a column's bytes become JSON: as they are, as a string, as a time in RFC 3339, or by way of the value that its parser makes of them. */
type Form = "plain" | "text" | "time" | "parsed";

/** PostgreSQL's types by their OIDs (pg_type.dat); all others are parsed. */
const forms = new Map<number, Form>([
  [21, "plain"], // int2
  [23, "plain"], // int4
  [114, "plain"], // json
  [3802, "plain"], // jsonb
  [25, "text"], // text
  [1043, "text"], // varchar
  [2950, "text"], // uuid
  [1082, "text"], // date
  [1184, "time"], // timestamptz
]);

interface Column extends Field {
  /** What stands before the value. */
  before: Buffer;
  /** Where the row has it; -1 for the tenant's id, which no row has. */
  index: number;
  form: Form;
}

/** How the rows of one shape are written, for one presenter. */
interface Plan {
  columns: readonly Column[];
  /** Where the row has the currency of its amounts. */
  currency: number;
  isSensitive: boolean;
}

const plans = new WeakMap<readonly Field[], WeakMap<Shape, Plan>>();

/**
 * A list's answer as JSON: `data`, which holds what `presenter` makes of each row, and what `rest` holds. The same as its `present` and
 * JSON.stringify would make, in a fraction of their time: out of the database's bytes, with no string or object for a row.
 */
export function listJson<Row extends object>(
  presenter: Presenter<Row>,
  rows: Rows<Row>,
  clearance: Clearance,
  tenantId: string,
  rest: object,
): Buffer {
  const fields = fieldsOf(presenter);
  if (!fields)
    return Buffer.from(JSON.stringify({ data: rows.objects().map((row) => presenter.present(row, clearance, tenantId)), ...rest }));
  writer.begin('{"data":[');
  const plan = planOf(fields, rows.shape);
  rows.raw.forEach(({ bytes, at }, index) => {
    if (index > 0) writer.byte(comma);
    writeRow(plan, rows.shape, bytes, at, clearance, tenantId);
  });
  writer.ascii("],");
  writer.json(JSON.stringify(rest).slice(1));
  return writer.end();
}

function planOf(fields: readonly Field[], shape: Shape): Plan {
  const byShape = plans.get(fields) ?? new WeakMap<Shape, Plan>();
  const plan = byShape.get(shape) ?? makePlan(fields, shape);
  plans.set(fields, byShape);
  byShape.set(shape, plan);
  return plan;
}

function makePlan(fields: readonly Field[], shape: Shape): Plan {
  // A field that the rows do not have is left out, as JSON.stringify leaves out what is undefined.
  const there = fields.filter(({ name }) => name === "tenantId" || shape.names.includes(name));
  const columns = there.map((field, position) => {
    const index = field.name === "tenantId" ? -1 : shape.names.indexOf(field.name);
    const before = Buffer.from(`${position === 0 ? "{" : ","}${JSON.stringify(field.name)}:`);
    return { ...field, before, index, form: forms.get(shape.types[index] ?? 0) ?? "parsed" };
  });
  return { columns, currency: shape.names.indexOf("currency"), isSensitive: fields.some(({ kind }) => kind) };
}

/** Where each field of the row at hand begins, and its length; -1 for null. */
let starts = new Int32Array(64);
let lengths = new Int32Array(64);

function writeRow(plan: Plan, shape: Shape, bytes: Buffer, at: number, clearance: Clearance, tenantId: string): void {
  locate(bytes, at, shape.names.length);
  const masked: string[] = [];
  for (const { name, kind, before, index, form } of plan.columns) {
    writer.bytes(before);
    if (index < 0) {
      writer.json(JSON.stringify(tenantId));
      continue;
    }
    const length = lengths[index] as number;
    if (length < 0) {
      writer.ascii("null");
    } else if (kind !== undefined && length > 0) {
      const value = valueAt(shape, bytes, index);
      if (isHidden(clearance, name, kind)) {
        writer.json(JSON.stringify(mask(kind, value)));
        masked.push(name);
      } else {
        const currency = kind === "amount" ? valueAt(shape, bytes, plan.currency) : undefined;
        writer.json(JSON.stringify(kind === "amount" ? formatMoney(String(value), String(currency)) : value));
      }
    } else if (!writer.value(form, bytes, starts[index] as number, length)) {
      writer.json(JSON.stringify(valueAt(shape, bytes, index)));
    }
  }
  writer.ascii(plan.isSensitive ? `,"_masked":${JSON.stringify(masked)}}` : "}");
}

function locate(bytes: Buffer, at: number, columns: number): void {
  if (columns > starts.length) [starts, lengths] = [new Int32Array(2 * columns), new Int32Array(2 * columns)];
  let from = at;
  for (let index = 0; index < columns; index++) {
    const length = bytes.readInt32BE(from);
    from += 4;
    starts[index] = from;
    lengths[index] = length;
    if (length > 0) from += length;
  }
}

/** The value that a row's object would have. */
function valueAt({ parsers }: Shape, bytes: Buffer, index: number): unknown {
  const from = starts[index] ?? 0;
  const length = lengths[index] ?? -1;
  return length < 0 ? null : parsers[index]?.(bytes.toString("utf8", from, from + length));
}

const usualLength = 256 * 1024;

/** Bytes that grow as they are written; one for all answers, which are written without a pause. */
class Writer {
  #out = Buffer.allocUnsafeSlow(usualLength);
  #to = 0;

  begin(text: string): void {
    this.#to = 0;
    this.ascii(text);
  }

  /** What was written, as the caller's own. */
  end(): Buffer {
    const written = this.#out.subarray(0, this.#to);
    if (this.#out.length === usualLength) return Buffer.from(written);
    this.#out = Buffer.allocUnsafeSlow(usualLength);
    return written;
  }

  byte(byte: number): void {
    this.#reserve(1);
    this.#out[this.#to++] = byte;
  }

  bytes(bytes: Buffer): void {
    this.#reserve(bytes.length);
    const out = this.#out;
    let to = this.#to;
    for (let index = 0; index < bytes.length; index++) out[to++] = bytes[index] as number;
    this.#to = to;
  }

  ascii(text: string): void {
    this.#reserve(text.length);
    this.#to += this.#out.write(text, this.#to, "latin1");
  }

  json(text: string): void {
    this.#reserve(3 * text.length);
    this.#to += this.#out.write(text, this.#to);
  }

  /** Writes a value in its form. False, with nothing written, where it has to be parsed. */
  value(form: Form, bytes: Buffer, from: number, length: number): boolean {
    this.#reserve(length + slack);
    switch (form) {
      case "plain":
        this.#copy(bytes, from, from + length);
        return true;
      case "text":
        return this.#text(bytes, from, from + length);
      case "time":
        return this.#time(bytes, from, from + length);
      case "parsed":
        return false;
    }
  }

  #copy(bytes: Buffer, from: number, end: number): void {
    const out = this.#out;
    let to = this.#to;
    for (let at = from; at < end; at++) out[to++] = bytes[at] as number;
    this.#to = to;
  }

  /** A string without anything that JSON escapes. */
  #text(bytes: Buffer, from: number, end: number): boolean {
    const out = this.#out;
    let to = this.#to;
    out[to++] = quote;
    for (let at = from; at < end; at++) {
      const byte = bytes[at] as number;
      if (byte < firstVisible || byte === quote || byte === backslash) return false;
      out[to++] = byte;
    }
    out[to++] = quote;
    this.#to = to;
    return true;
  }

  /** A time of a session in UTC, `2026-11-21 08:00:00.5+00`, in RFC 3339 with milliseconds. */
  #time(bytes: Buffer, from: number, end: number): boolean {
    const seconds = from + secondsLength;
    const zone = end - 3;
    const isFraction = bytes[seconds] === dot;
    if (bytes[zone] !== plus || bytes[zone + 1] !== zero || bytes[zone + 2] !== zero || !(isFraction || zone === seconds)) return false;
    const out = this.#out;
    out[this.#to++] = quote;
    const day = this.#to;
    this.#copy(bytes, from, seconds);
    out[day + 10] = letterT;
    out[this.#to++] = dot;
    for (let digit = seconds + 1; digit <= seconds + 3; digit++) out[this.#to++] = digit < zone ? (bytes[digit] as number) : zero;
    out[this.#to++] = letterZ;
    out[this.#to++] = quote;
    return true;
  }

  #reserve(length: number): void {
    if (this.#to + length <= this.#out.length) return;
    const grown = Buffer.allocUnsafeSlow(2 * (this.#to + length));
    grown.set(this.#out.subarray(0, this.#to));
    this.#out = grown;
  }
}

const writer = new Writer();
