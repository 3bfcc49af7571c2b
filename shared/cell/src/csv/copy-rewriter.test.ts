import { CopyOut } from "@cell/postgres/driver/copy";
import { typeParsers } from "@cell/postgres/driver/parsing";
import fc from "fast-check";
import pg from "pg";
import { describe, expect, inject, test } from "vitest";
import type { FieldType } from "../lists/field-types.ts";
import { type FieldAccess, isMasked, mask, type SensitiveKind } from "../schema/masking.ts";
import { formatMoney } from "../schema/money.ts";
import { csvLine } from "./csv.ts";
import { type CopiedOptions, copiedCsvFile, copiedFields } from "./export-file.ts";

const types: CopiedOptions["types"] = {
  id: "uuid",
  version: "integer",
  open: "boolean",
  at: "time",
  until: "time",
  tags: "texts",
  more: "json",
  chance: "number",
} satisfies Record<string, FieldType | "json">;
const sensitive: Record<string, SensitiveKind> = { phone: "phone", email: "email", amount: "amount" };
const fields = [
  "id",
  "tenantId",
  "name",
  "phone",
  "email",
  "amount",
  "currency",
  "version",
  "open",
  "at",
  "until",
  "tags",
  "more",
  "chance",
  "notes",
];
const resource = { fields, sensitive, amounts: new Set(["amount"]) };
const masked: FieldAccess = { clear: new Set(), revealed: new Set() };
const revealed: FieldAccess = { ...masked, revealed: new Set(["amount"]) };

/** A row as in a list response. */
interface Row {
  id: string;
  name: string;
  phone: string | null;
  email: string | null;
  amount: string | null;
  currency: string;
  version: number;
  open: boolean | null;
  at: string;
  until: string | null;
  tags: string[];
  more: Record<string, unknown>;
  chance: number | null;
  notes: string | null;
}

/** Everything that separates, quotes, escapes or begins a formula, in one byte and in several. */
const sign = fc.constantFrom(..."',=+-@\t\r\n\"\\;|；{}*.0aZ华é😀\uFEFF ", "\\N", "\\.", "NULL", '""', "\r\n", "+86", "138");
const hostile = fc.oneof(
  fc.array(sign, { maxLength: 12 }).map((signs) => signs.join("")),
  fc.string({ unit: "grapheme", maxLength: 60 }),
);
const text = hostile.map((value) => value.replaceAll("\0", "").toWellFormed());
const orNull = <T>(values: fc.Arbitrary<T>) => fc.option(values, { nil: null, freq: 4 });
const phone = fc.oneof(text, fc.stringMatching(/^\+?\d{0,15}$/), fc.constant("13800138000"));
const email = fc.oneof(text, fc.constantFrom("a@b.cn", "contact1@example.com", "=x@y.z", '"q,"@e.org', "张伟@例子.中国"));
const time = fc.oneof(
  fc.integer({ min: -62_135_596_800_000, max: 253_402_300_799_999 }).map((ms) => new Date(ms).toISOString()),
  fc.constantFrom(
    "2026-11-21 08:00:00+00",
    "2026-11-21 08:00:00.5+00",
    "2026-11-21 08:00:00.123456+00",
    "12026-01-02 03:04:05+00",
    "infinity",
  ),
);

const row: fc.Arbitrary<Row> = fc.record({
  id: fc.uuid(),
  name: text,
  phone: orNull(phone),
  email: orNull(email),
  amount: orNull(fc.constantFrom("0", "120000.0000", "7.1255", "99999999999.9999")),
  currency: fc.constantFrom("CNY", "JPY", "KWD"),
  version: fc.integer({ min: -5, max: 2_000_000_000 }),
  open: orNull(fc.boolean()),
  at: time,
  until: orNull(time),
  tags: fc.array(fc.oneof(fc.constantFrom("vip", "重点", "null", "a b"), text), { maxLength: 4 }),
  more: fc.oneof(fc.constant({}), fc.dictionary(text, fc.oneof(text, fc.integer(), fc.constant(null)), { maxKeys: 3 })),
  chance: orNull(fc.constantFrom(0, 0.5, 33.25, 100)),
  notes: orNull(text),
});

describe("a file out of what PostgreSQL copies", () => {
  test("the rewritten CSV equals csvLine's byte by byte, masked or with amounts by currency, however the chunks are split", async () => {
    const client = new pg.Client({ connectionString: inject("databaseUrl"), options: "-c timezone=UTC" });
    await client.connect();
    try {
      await client.query(`create temp table rows (place int, id uuid, name text, phone text, email text, amount numeric, currency text, version int, open boolean,
        at timestamptz, until timestamptz, tags text[], more jsonb, chance float8, notes text)`);
      const tenant = fc.constantFrom("tenant-001", "=t", "a,b");
      const cuts = fc.array(fc.integer({ min: 1, max: 300 }), { minLength: 1, maxLength: 20 });
      await fc.assert(
        fc.asyncProperty(fc.array(row, { maxLength: 8 }), tenant, cuts, fc.constantFrom(masked, revealed), async (...given) => {
          const [rows, tenantId, lengths, fieldAccess] = given;
          const { copied, recorded } = await copy(client, rows, fieldAccess);
          const expected = recorded.map((values) => csvLine(fields.map((field) => shown(field, values, tenantId, fieldAccess))));
          const ends: unknown[] = [];
          const ended = async (...args: unknown[]) => void ends.push(args);
          const file = await wholeOf(copiedCsvFile(cut(copied, lengths), { resource, types, fieldAccess, tenantId, bom: false, ended }));
          expect(file.toString()).toBe([csvLine(fields), ...expected].join(""));
          expect(ends).toEqual([[rows.length, true]]);
        }),
        { numRuns: 300 },
      );
    } finally {
      await client.end();
    }
  });

  test("the rewriter handles cells that are longer than its buffers, and cells that grow", async () => {
    const [long, address] = ["=,\"'\n华".repeat(40_000), `@${"z".repeat(100_000)}`];
    const only = { fields: ["id", "name", "email"], sensitive: { email: "email" as const }, amounts: new Set<string>() };
    const options = { resource: only, types, fieldAccess: masked, tenantId: "t", bom: true, ended: async () => undefined };
    const copied = Buffer.from(`x,"${long.replaceAll('"', '""')}",${address}\n`.repeat(3));
    const file = await wholeOf(copiedCsvFile(cut(copied, [65_536]), options));
    expect(file.toString()).toBe(`\uFEFF${csvLine(only.fields)}${csvLine(["x", long, mask("email", address)]).repeat(3)}`);
  });
});

/** COPY's output of rows, and a query's description of them. */
async function copy(
  client: pg.Client,
  rows: Row[],
  fieldAccess: FieldAccess,
): Promise<{ copied: Buffer; recorded: Record<string, unknown>[] }> {
  const names = copiedFields(resource, masked);
  const given = rows.map((row) => names.map((name) => (name === "more" ? JSON.stringify(row.more) : row[name as keyof Row])));
  await client.query("truncate rows");
  for (const [place, values] of given.entries()) {
    await client.query(`insert into rows values (${[place, ...values].map((_, index) => `$${index + 1}`)})`, [place, ...values]);
  }
  const query = `select ${copiedFields(resource, fieldAccess)} from rows order by place`;
  const { rows: recorded } = await client.query({ text: query, types: typeParsers });
  return { copied: await wholeOf(readAll(client.query(new CopyOut(query, "csv")))), recorded };
}

async function* readAll(copied: CopyOut): AsyncGenerator<Buffer> {
  for (let chunk = await copied.read(); chunk; chunk = await copied.read()) yield chunk;
}

/** Splits bytes into chunks of these lengths, repeating. */
async function* cut(bytes: Buffer, lengths: readonly number[]): AsyncGenerator<Buffer> {
  for (let at = 0, turn = 0; at < bytes.length; turn++) {
    const length = lengths[turn % lengths.length] ?? 1;
    yield Buffer.from(bytes.subarray(at, at + length));
    at += length;
  }
}

/** Concatenates all chunks; each is only valid until the next one. */
async function wholeOf(pieces: AsyncIterable<string | Buffer>): Promise<Buffer> {
  const whole: Buffer[] = [];
  for await (const piece of pieces) whole.push(Buffer.from(piece));
  return Buffer.concat(whole);
}

/** The value of a field in a list response. */
function shown(field: string, row: Record<string, unknown>, tenantId: string, fieldAccess: FieldAccess): unknown {
  if (field === "tenantId") return tenantId;
  const kind = sensitive[field];
  if (!kind || row[field] === null) return row[field];
  return isMasked(fieldAccess, field, kind) ? mask(kind, row[field]) : formatMoney(String(row[field]), String(row.currency));
}
