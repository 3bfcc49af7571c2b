import { type Parameters, type SchemaMigration, statement, type TenantDb, tenantTables } from "@cell/postgres";
import { type RawBuilder, sql } from "kysely";
import { LRUCache } from "lru-cache";

/**
 * The functions that normalize texts and phone numbers for comparison, in `public`. A change of one requires to rebuild the generated
 * columns and indexes that use it.
 */
export function foldMigration(): SchemaMigration {
  return {
    name: "fold",
    sql: [
      `do $$ begin
        if not exists (select from pg_collation where collname = 'zh-x-icu') then
          raise exception 'This PostgreSQL was built without ICU, which lists need to sort by';
        end if;
      end $$`,
      // Ignores case, width and repeated blanks. Handles explicitly what lower() does not unify: the final sigma, the dotless i, the dot
      // that a small i has lost or kept, the sharp s.
      `create or replace function public.cell_fold(given text) returns text language plpgsql immutable strict parallel safe as $$
        begin
          if octet_length(given) = length(given) then
            given := lower(given collate "C");
          else
            if given is not nfkc normalized then
              given := normalize(given, nfkc);
            end if;
            given := replace(translate(lower(given), U&'\\03C2\\0131\\0307', U&'\\03C3i'), U&'\\00DF', 'ss');
          end if;
          if strpos(given, '  ') > 0 then
            given := regexp_replace(given, ' {2,}', ' ', 'g');
          end if;
          return given;
        end $$`,
      // Removes the separators of a phone number.
      `create or replace function public.cell_phone(given text) returns text language sql immutable parallel safe
        return translate(given, E'\\t\\n\\v\\f\\r ().-/' ||
          U&'\\00A0\\1680\\2000\\2001\\2002\\2003\\2004\\2005\\2006\\2007\\2008\\2009\\200A\\2028\\2029\\202F\\205F\\3000\\FEFF', '')`,
    ],
  };
}

/** A text column in the form for searching. */
export function foldedColumn(column: RawBuilder<unknown>): RawBuilder<string> {
  return sql<string>`public.cell_fold(${column})`;
}

/** A column of phone numbers without separators. */
export function phoneColumn(column: RawBuilder<unknown>): RawBuilder<string> {
  return sql<string>`public.cell_phone(${column})`;
}

/** A phone number without separators. */
export function compactPhone(value: string): string {
  return value.replace(/[\s().\-/]/g, "");
}

const foldAll = statement((p: Parameters<{ texts: readonly string[] }>) =>
  tenantTables<object>().selectNoFrom(
    sql<
      string[]
    >`array(select public.cell_fold(given) from unnest(${p.texts}::text[]) with ordinality as texts(given, place) order by place)`.as(
      "folded",
    ),
  ),
);

const known = new LRUCache<string, string>({ max: 10_000 });
const ascii = /^[\x20-\x7e]*$/;

/** Texts in the form for searching, as PostgreSQL folds them, like the columns. Plain ASCII is folded here, and results are cached. */
export async function folded(tenant: TenantDb, texts: readonly string[]): Promise<string[]> {
  const unknown = texts.filter((text) => !ascii.test(text) && !known.has(text));
  if (unknown.length > 0) {
    const [row] = await tenant.query(foldAll, { texts: unknown });
    unknown.forEach((text, index) => {
      known.set(text, row?.folded[index] ?? text);
    });
  }
  return texts.map((text) => (ascii.test(text) ? text.toLowerCase().replace(/ {2,}/g, " ") : (known.get(text) ?? text)));
}
