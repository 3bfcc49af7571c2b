import pg from "pg";

const { builtins } = pg.types;

/** `2026-11-21 08:00:00.5+00` to `2026-11-21T08:00:00.500Z`: sessions are in UTC, responses carry milliseconds. */
export function isoTime(text: string): string {
  const dot = text.indexOf(".", 19);
  const plus = text.indexOf("+", 19);
  if (text.length < 22 || plus < 0) return text;
  const fraction =
    dot < 0
      ? "000"
      : text
          .slice(dot + 1, plus)
          .padEnd(3, "0")
          .slice(0, 3);
  return `${text.slice(0, 10)}T${text.slice(11, 19)}.${fraction}Z`;
}

function integer(text: string): number | string {
  const value = Number(text);
  return Number.isSafeInteger(value) ? value : text;
}

/** Normalizes a number's text: `120000.0000` becomes `120000`, the form that the API uses. */
function decimal(text: string): string {
  return text.includes(".") ? text.replace(/\.?0+$/, "") : text;
}

const parsers: Partial<Record<number, (text: string) => unknown>> = {
  [builtins.TIMESTAMPTZ]: isoTime,
  [builtins.DATE]: (text) => text,
  [builtins.NUMERIC]: decimal,
  [builtins.INT8]: integer,
};

/** Parsers by type: times become RFC 3339 text, dates text, numerics the shortest text, counts numbers. */
export const typeParsers = {
  getTypeParser(oid: number, format?: "text" | "binary") {
    return (format !== "binary" && parsers[oid]) || pg.types.getTypeParser(oid, format ?? "text");
  },
} as pg.CustomTypesConfig;
