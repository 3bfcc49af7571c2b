import type { TenantMigration } from "@cell/postgres";

/** Rows of an upload lie together by the thousand, and only those that failed one by one: most are written once and read once, in their order. */
export const importBatchesMigration: TenantMigration = {
  name: "0011_imports",
  sql: [
    // Of `rows` and `cells`, JSON that nobody looks into, each is one value for all rows of a batch.
    `create table "$tenant".import_batches (
      import_id uuid not null, first_row int not null, last_row int not null, skipped int not null, failed int not null,
      rows text storage external not null, cells text storage external not null, primary key (import_id, first_row))`,
    `grant select, insert, delete on "$tenant".import_batches to "$login"`,
    `create table "$tenant".import_failures (
      import_id uuid not null, row int not null, line int, cells json not null, errors json not null, by_itself boolean not null,
      primary key (import_id, row))`,
    `grant select, insert, delete on "$tenant".import_failures to "$login"`,
    // In a hash index, all entries of one request hang in one chain, which each further one would walk to its end.
    `drop index "$tenant".audit_logs_request`,
    `create index audit_logs_request on "$tenant".audit_logs (request_id)`,
  ],
};
