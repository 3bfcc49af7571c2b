import { nameKey } from "@cell/http";
import type { MigrationQuery, TenantMigration } from "@cell/postgres";

// The content of PostgreSQL's bracket expressions: Unicode 16's Default_Ignorable_Code_Point, controls and the empty Braille pattern.
const controls = "\\u0001-\\u0008\\u000E-\\u001F\\u007F-\\u009F";
const ignorable =
  "\\u00AD\\u034F\\u061C\\u115F\\u1160\\u17B4\\u17B5\\u180B-\\u180F\\u200B-\\u200F\\u202A-\\u202E\\u2060-\\u206F\\u3164\\uFE00-\\uFE0F\\uFEFF\\uFFA0\\uFFF0-\\uFFF8\\U0001BCA0-\\U0001BCA3\\U0001D173-\\U0001D17A\\U000E0000-\\U000E0FFF";
/** Characters that keys had in another form before, or no longer have. */
const rekeyed = `${controls}${ignorable}\\u2800`;
/** Characters that show nothing by themselves. */
const invisible = `${rekeyed}\\u0009-\\u000D\\u0020\\u00A0\\u1680\\u2000-\\u200A\\u2028\\u2029\\u202F\\u205F\\u3000`;
const rowsAtOnce = 1_000;

/** Replaces texts that show nothing by null. */
function emptied(table: string, columns: readonly string[]): string {
  const isEmpty = (column: string) => `${column} ~ '^[${invisible}]*$'`;
  const values = columns.map((column) => `${column} = case when ${isEmpty(column)} then null else ${column} end`);
  return `update "$tenant".${table} set ${values.join(", ")} where ${columns.map(isEmpty).join(" or ")}`;
}

/** A column with the keys of another one, unique among live rows. */
interface KeyColumn {
  table: string;
  id: string;
  text: string;
  key: string;
  /** The rows in the unique index. */
  isLive: string;
  /** The columns of the unique index besides the key. */
  scope?: string;
}

/**
 * Sets the keys of rows. If another live row has the key already, or an older one gets it here, the row's own id is appended: both records
 * stay, and the younger one only conflicts once it is renamed.
 */
async function assignKeys(query: MigrationQuery, column: KeyColumn, rows: readonly { id: string; text: string }[]): Promise<void> {
  const { table, id, key, isLive, scope } = column;
  const ids = rows.map((row) => row.id);
  // Removes conflicts first: a unique index is checked row by row.
  await query(`update "$tenant".${table} set ${key} = E'\\n' || ${id} where ${id} = any($1::uuid[])`, [ids]);
  const sameScope = scope ? `and other.${scope} = row.${scope}` : "";
  await query(
    `with given as (select * from unnest($1::uuid[], $2::text[]) as given (id, key)),
      ranked as (
        select row.${id}, given.key, ${isLive} and (
          row_number() over (partition by given.key, ${isLive}${scope ? `, row.${scope}` : ""} order by row.${id}) > 1
          or exists (select from "$tenant".${table} as other
            where other.${key} = given.key ${sameScope} and ${isLive.replaceAll("row.", "other.")})) as is_taken
        from given join "$tenant".${table} as row on row.${id} = given.id)
    update "$tenant".${table} as row set ${key} = case when ranked.is_taken then ranked.key || E'\\n' || row.${id} else ranked.key end
    from ranked where ranked.${id} = row.${id}`,
    [ids, rows.map((row) => nameKey(row.text))],
  );
}

/** Sets the keys of the rows that match a condition, in batches. */
async function rekey(query: MigrationQuery, column: KeyColumn, condition: string): Promise<void> {
  const { table, id, text } = column;
  for (let after = "00000000-0000-0000-0000-000000000000"; ; ) {
    const rows = await query<{ id: string; text: string }>(
      `select ${id} as id, ${text} as text from "$tenant".${table} where ${id} > $1 and ${condition} order by ${id} limit ${rowsAtOnce}`,
      [after],
    );
    if (rows.length > 0) await assignKeys(query, column, rows);
    if (rows.length < rowsAtOnce) return;
    after = rows.at(-1)?.id ?? after;
  }
}

const notDeleted = "row.deleted_at is null";
const names: KeyColumn = { table: "customers", id: "customer_id", text: "name", key: "name_key", isLive: notDeleted };
const numbers: KeyColumn = { table: "contracts", id: "contract_id", text: "number", key: "number_key", isLive: notDeleted };
const references: KeyColumn = {
  table: "payments",
  id: "payment_id",
  text: "reference",
  key: "reference_key",
  isLive: "row.status = 'received'",
  scope: "contract_id",
};

/** Unifies empty texts, makes keys ignore invisible characters, and adds keys for payment references. */
export const textFormsMigration: TenantMigration = {
  name: "0017_text_forms",
  sql: [
    emptied("customers", ["contact_name", "contact_phone", "contact_email", "industry", "level", "source", "address", "notes"]),
    emptied("contacts", ["title", "phone", "email", "notes"]),
    emptied("opportunities", ["lost_reason"]),
    emptied("payments", ["method", "reference", "notes", "void_reason"]),
    emptied("webhooks", ["description"]),
    `alter table "$tenant".payments add reference_key text`,
    `drop index "$tenant".payments_reference_key`,
    `create unique index payments_reference_key on "$tenant".payments (contract_id, reference_key) where status = 'received'`,
  ],
  async fill(query) {
    await rekey(query, names, `name ~ '[${rekeyed}]'`);
    await rekey(query, numbers, `number ~ '[${rekeyed}]'`);
    await rekey(query, references, "reference is not null");
  },
};
