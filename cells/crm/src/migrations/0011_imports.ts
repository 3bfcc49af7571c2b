import type { TenantMigration } from "@cell/postgres";

/** Converts the rows of running imports, and the failed rows of the others. */
export const rowsTakenOver: readonly string[] = [
  `with firsts as (
     select import_rows.*, options ->> 'onDuplicate' = 'skip' as skips, status in ('queued', 'running') as unfinished,
       case resource_type when 'customer' then array['name', 'customerId'] else array['opportunityId', 'opportunityId'] end as keys,
       case when name_key is not null then min(row) filter (where valid) over (partition by import_id, name_key) end as first_of_name,
       case when id_key is not null then min(row) filter (where valid) over (partition by import_id, id_key) end as first_of_id
     from "$tenant".import_rows join "$tenant".imports using (import_id) where not swept),
   repeats as (
     select firsts.*, valid and (coalesce(first_of_name, row) < row or coalesce(first_of_id, row) < row) as repeated, (
       select json_agg(json_build_object('field', field, 'code', 'DUPLICATE_IN_FILE', 'message', 'is the same as in row ' || first, 'duplicateOf', first))
       from (values (keys[1], first_of_name), (keys[2], first_of_id)) as key (field, first) where first < row) as repeats
     from firsts),
   judged as (
     select repeats.*, repeated and skips as skipped, not valid or repeated and not skips as fails from repeats),
   failures as (
     insert into "$tenant".import_failures (import_id, row, line, cells, errors, by_itself)
     select import_id, row, line, cells, coalesce(errors, repeats), fails from judged where errors is not null or fails)
   insert into "$tenant".import_batches (import_id, first_row, last_row, skipped, failed, rows, cells)
   select import_id, min(row), max(row), count(*) filter (where skipped), count(*) filter (where fails),
     coalesce(json_agg(json_build_object('row', row, 'data', data) order by row) filter (where not skipped and not fails), '[]'),
     coalesce(json_agg(json_build_object('row', row, 'line', line, 'cells', cells) order by row) filter (where not skipped and not fails), '[]')
   from judged where unfinished group by import_id, (row - 1) / 1000`,
  `drop table "$tenant".import_rows`,
];

/** Stores uploaded rows in batches of a thousand, and only failed ones separately: most are written once and read once, in order. */
export const importBatchesMigration: TenantMigration = {
  name: "0011_imports",
  sql: [
    // `rows` and `cells` are opaque JSON, one value for all rows of a batch.
    `create table "$tenant".import_batches (
      import_id uuid not null, first_row int not null, last_row int not null, skipped int not null, failed int not null,
      rows text storage external not null, cells text storage external not null, primary key (import_id, first_row))`,
    `grant select, insert, delete on "$tenant".import_batches to "$login"`,
    `create table "$tenant".import_failures (
      import_id uuid not null, row int not null, line int, cells json not null, errors json not null, by_itself boolean not null,
      primary key (import_id, row))`,
    `grant select, insert, delete on "$tenant".import_failures to "$login"`,
    // A running upload commits its rows before they are read here.
    `lock table "$tenant".import_rows in access exclusive mode`,
    ...rowsTakenOver,
    // In a hash index, all entries of one request form one chain, which each insert would follow to its end.
    `drop index "$tenant".audit_logs_request`,
    `create index audit_logs_request on "$tenant".audit_logs (request_id)`,
  ],
};
