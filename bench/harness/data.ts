import { schemaOf } from "@cell/postgres/tenants";
import type pg from "pg";
import type { Stack } from "./stack.ts";
import { ensureTenant, hideTenant } from "./tenants.ts";

/** The tenants that the workloads use. */
export const tenants = { read: "bench-read", many: "bench-many", written: "bench-written", limit: "bench-limit" } as const;

/** A keyword of exactly one customer, in the middle. */
export const rareWord = "zeppelin";
/** A Chinese keyword of exactly one customer. */
export const rareChinese = "稀土永磁";

/** The digits of the n-th record's id after its fixed beginning: 19, so that pgbench can count them. */
export function idDigits(n: number): bigint {
  return 1_008_000_000_000_000_000n + BigInt(n);
}

const idStart = "0000000000007";

/** The id of the n-th record, from 1: a UUIDv7 in form. */
export function idOf(n: number): string {
  const digits = idStart + idDigits(n);
  return [digits.slice(0, 8), digits.slice(8, 12), digits.slice(12, 16), digits.slice(16, 20), digits.slice(20)].join("-");
}

/** The same in SQL, from an expression for the digits as text. */
export function idSql(digits: string): string {
  return `('${idStart}' || ${digits})`;
}

/** The unique part of the n-th customer's name. */
export function serialOf(n: number): string {
  return `N${String(n).padStart(12, "0")}`;
}

/** Creates missing tenants and data, on the server, with indexes created last. */
export async function ensureData(stack: Stack, log: (line: string) => void): Promise<void> {
  const { sizes } = stack.config;
  await ensureCustomers(stack, tenants.read, sizes.customers, log);
  await ensureCustomers(stack, tenants.written, sizes.written, log);
  await ensureCustomers(stack, tenants.limit, sizes.written, log);
  await hideTenant(stack, tenants.limit);
}

/** The tenant with many customers and opportunities; creating its data takes minutes. */
export async function ensureMany(stack: Stack, log: (line: string) => void): Promise<void> {
  const { many } = stack.config.sizes;
  await ensureCustomers(stack, tenants.many, many, log);
  if (await isEmpty(stack, tenants.many, "opportunities")) {
    await fill(stack, tenants.many, log, ["opportunities", "opportunity_history"], many, [opportunities, histories]);
  }
}

/** Small tenants used in turn: `t-0001` and so on. Resolves to their ids. */
export async function ensureSmallTenants(stack: Stack, count: number, log: (line: string) => void): Promise<string[]> {
  const ids = Array.from({ length: count }, (_, index) => `t-${String(index + 1).padStart(4, "0")}`);
  const { rows } = await stack.superuser.query<{ tenant_id: string }>("select tenant_id from crm.tenants");
  const known = new Set(rows.map((row) => row.tenant_id));
  const missing = ids.filter((id) => !known.has(id));
  if (missing.length > 0) log(`Making ${missing.length} small tenants.`);
  for (const id of missing) {
    await ensureTenant(stack, id);
    await stack.superuser.query(customers(`"${schemaOf(id)}"`, 20));
  }
  return ids;
}

/** A tenant with this many customers, unless it has some. */
export async function ensureCustomers(stack: Stack, tenantId: string, count: number, log: (line: string) => void): Promise<void> {
  await ensureTenant(stack, tenantId);
  if (await isEmpty(stack, tenantId, "customers")) await fill(stack, tenantId, log, ["customers"], count, [customers]);
}

async function isEmpty(stack: Stack, tenantId: string, table: string): Promise<boolean> {
  const { rowCount } = await stack.superuser.query(`select from "${schemaOf(tenantId)}".${table} limit 1`);
  return rowCount === 0;
}

type Insert = (schema: string, count: number) => string;

async function fill(
  stack: Stack,
  tenantId: string,
  log: (line: string) => void,
  tables: readonly string[],
  count: number,
  inserts: readonly Insert[],
): Promise<void> {
  const schema = schemaOf(tenantId);
  const startedAt = performance.now();
  log(`Filling ${tables.join(" and ")} of ${tenantId} with ${count} …`);
  const client = await stack.superuser.connect();
  try {
    await client.query("begin");
    // The rows are consistent: checking each foreign key would take as long again.
    await client.query("set local session_replication_role = replica");
    await client.query("set local maintenance_work_mem = '1GB'");
    const indexes = await droppedIndexes(client, schema, tables);
    for (const insert of inserts) await client.query(insert(`"${schema}"`, count));
    for (const index of indexes) await client.query(index);
    await client.query("commit");
    for (const table of tables) await client.query(`vacuum (analyze, freeze) "${schema}".${table}`);
    await client.query("checkpoint");
  } catch (error) {
    await client.query("rollback");
    throw error;
  } finally {
    client.release();
  }
  log(`… in ${((performance.now() - startedAt) / 1000).toFixed(1)} s.`);
}

/** Drops the indexes without a constraint; resolves to the statements that create them again. */
async function droppedIndexes(client: pg.PoolClient, schema: string, tables: readonly string[]): Promise<string[]> {
  const { rows } = await client.query<{ name: string; definition: string }>(
    `select i.indexrelid::regclass::text as name, pg_get_indexdef(i.indexrelid) as definition from pg_index i
     join pg_class c on c.oid = i.indrelid join pg_namespace n on n.oid = c.relnamespace
     where n.nspname = $1 and c.relname = any($2) and not exists (select from pg_constraint where conindid = i.indexrelid)`,
    [schema, tables],
  );
  for (const { name } of rows) await client.query(`drop index ${name}`);
  return rows.map(({ definition }) => definition);
}

/** Customers over the 350 days up to today, at equal intervals. */
export function customers(schema: string, count: number): string {
  const middle = Math.ceil(count / 2);
  return `
    insert into ${schema}.customers (customer_id, name, name_key, contact_name, contact_phone, contact_email, industry, level, source, status,
      owner_id, address, tags, notes, custom_fields, created_at, updated_at, version)
    select ${idSql(`(${idDigits(0)} + n)::text`)}::uuid, name, lower(name), (array['张伟', '王芳', '李娜', 'Maria Silva', 'John Smith'])[1 + n % 5],
      '138' || lpad((n % 100000000)::text, 8, '0'), 'contact' || n || '@example.com',
      (array['manufacturing', 'retail', 'software', 'logistics', '医疗', '教育'])[1 + n % 6], (array['A', 'B', 'C'])[1 + n % 3],
      (array['website', 'referral', 'fair'])[1 + n % 3], (array['lead', 'active', 'inactive'])[1 + n % 3], 'user-' || lpad((n % 50)::text, 3, '0'),
      '上海市浦东新区 ' || n || ' 号', array[(array['vip', 'new', 'partner', '重点'])[1 + n % 4]],
      case n when ${middle} then '${rareWord} ${rareChinese}' else (array['wholesale', 'met at the fair', '长期合作', 'call back'])[1 + n % 4] || ' ' || substr(md5(n::text), 1, 12) end,
      '{}', at, at, 1
    from (
      select n, (array['华兴', '明德', '东方', 'Northwind', 'Contoso', '远大', '天成'])[1 + n % 7] || (array['科技', '贸易', '实业', 'Trading', '物流'])[1 + n % 5]
        || '有限公司 N' || lpad(n::text, 12, '0') as name,
        date_trunc('milliseconds', date_trunc('day', now()) - interval '350 days' * (${count} - n) / ${count}) as at
      from generate_series(1, ${count}) as n
    ) as made`;
}

const stages = ["prospecting", "qualification", "proposal", "negotiation", "won", "lost"];
/** The stages that an opportunity has been in, by the last digit of its number. */
const passedStages = `(array[1, 1, 1, 2, 2, 3, 4, 5, 5, 3])[1 + n % 10]`;

/** Opportunities of all stages over the last 350 days, each of one customer. */
function opportunities(schema: string, count: number): string {
  return `
    insert into ${schema}.opportunities (opportunity_id, customer_id, name, amount, currency, pipeline_id, stage, status, probability,
      probability_overridden, expected_close_date, owner_id, lost_reason, closed_at, stage_entered_at, history_seq, entered, last_stage,
      created_at, updated_at, version)
    select ${idSql(`(${idDigits(0)} + n)::text`)}::uuid, ${idSql(`(${idDigits(0)} + n)::text`)}::uuid, '年度采购 N' || lpad(n::text, 12, '0'),
      100 * (1 + n % 9973), 'CNY', pipeline_id, stage, type, probability, false, (entered + interval '60 days')::date, 'user-' || lpad((n % 50)::text, 3, '0'),
      case when stage = 'lost' then 'price' end, case when type <> 'open' then entered end, entered, steps,
      case when stage = 'lost' then (1::bigint << steps - 1) - 1 | 1::bigint << number else (1::bigint << steps) - 1 end,
      case when stage = 'lost' then steps - 2 else steps - 1 end, created, entered, steps
    from (
      select n, ${passedStages} as steps, created, created + (now() - created) / 8 * (${passedStages} - 1) as entered,
        case when n % 10 = 9 then 'lost' else (array['${stages.join("', '")}'])[${passedStages}] end as at_stage
      from (select n, date_trunc('milliseconds', date_trunc('day', now()) - interval '350 days' * (${count} - n) / ${count}) as created
            from generate_series(1, ${count}) as n) as numbered
    ) as made join ${schema}.pipeline_stages on stage = at_stage join ${schema}.pipelines using (pipeline_id) where is_default`;
}

/** The rows of their history: one for each passed stage. */
function histories(schema: string): string {
  return `
    insert into ${schema}.opportunity_history (opportunity_id, seq, moved, from_stage, from_pipeline_id, from_stage_type, from_entered_at,
      pipeline_id, stage, stage_type, amount, currency, probability,
      expected_close_date, closed_at, owner_id, customer_id, deleted, at, actor_id, request_id)
    select opportunity_id, seq, true, (array['${stages.join("', '")}'])[seq - 1],
      case when seq > 1 then pipeline_id end, case when seq > 1 then 'open' end,
      case when seq > 1 then created_at + (stage_entered_at - created_at) * (seq - 2) / greatest(1, history_seq - 1) end, pipeline_id, s.stage, s.type, amount, currency, s.probability,
      expected_close_date, case when s.type <> 'open' then closed_at end, owner_id, customer_id, false,
      case when seq = history_seq then stage_entered_at else created_at + (stage_entered_at - created_at) * (seq - 1) / greatest(1, history_seq - 1) end,
      owner_id, 'bench'
    from ${schema}.opportunities o cross join lateral generate_series(1, o.history_seq) as seq
    join ${schema}.pipeline_stages s using (pipeline_id)
    where s.stage = case when seq = o.history_seq then o.stage else (array['${stages.join("', '")}'])[seq] end`;
}
