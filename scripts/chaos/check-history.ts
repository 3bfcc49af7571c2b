import pg from "pg";
import { type History, isFailure, longestOf, outageOf, type Write } from "./history.ts";

/** Result of checking a history. */
export interface HistoryCheck {
  acknowledged: number;
  refused: number;
  unknown: number;
  lost: number;
  twice: number;
  /** ms; see `outageOf`. */
  outageMs: number;
  longestMs: number;
  /** One sentence per broken promise; long lists are truncated. */
  broken: string[];
}

/** After a fault, requests must succeed within this time. */
const outageLimitMs = 5_000;
/** The gateway times out after 10 s. */
const longestLimitMs = 10_500;

interface Stored {
  /** Entries of the audit trail by request id. */
  entries: Map<string, Entry[]>;
  /** Number of records from each write: rows with its id, and for changes the audit entries. */
  rows: Map<string, number>;
  opportunities: { id: string; version: number }[];
  contracts: { id: string; version: number; received: string }[];
  payments: { id: string; contractId: string; amount: string; status: string }[];
  responses: number;
}

interface Entry {
  requestId: string;
  action: string;
  resourceType: string;
  resourceId: string;
  version: number | null;
}

/** Compares all responses to clients with the database. */
export async function checkHistory(history: History, databaseUrl: string, schema: string): Promise<HistoryCheck> {
  const { writes } = history;
  const stored = await read(databaseUrl, schema);
  const broken: string[] = [];
  let lost = 0;
  let twice = 0;
  for (const write of writes.filter(({ kind }) => kind !== "import")) {
    const entries = stored.entries.get(write.id)?.length ?? 0;
    const rows = stored.rows.get(write.id) ?? 0;
    const effects = Math.max(entries, rows);
    if (effects > 1) {
      twice++;
      broken.push(`${recorded(write)} happened ${effects} times`);
    }
    if (entries !== rows && hasRow(write)) broken.push(`${recorded(write)} has ${rows} rows and ${entries} audit entries`);
    if (write.acknowledged && Math.min(entries, hasRow(write) ? rows : entries) === 0 && !changesNothing(write)) {
      lost++;
      broken.push(`${recorded(write)} was acknowledged and is not there`);
    }
    if (write.refused && effects > 0) broken.push(`${recorded(write)} was refused (${write.refused.text}) and is there`);
    if (write.refused && !write.rejections.includes(write.refused.status))
      broken.push(`${recorded(write)} was refused: ${write.refused.text}`);
    if (!write.acknowledged && !write.refused) broken.push(`${recorded(write)} could not be brought to an end: ${lastCodes(write)}`);
    for (const text of write.differing) broken.push(`${recorded(write)}: a repeat was answered ${text}, not ${write.acknowledged?.text}`);
  }
  for (const write of writes.filter(({ kind, acknowledged }) => kind === "import" && acknowledged)) {
    const counts = importedRows(write, stored);
    lost += counts.lost;
    twice += counts.twice;
    if (counts.lost + counts.twice > 0) broken.push(`${recorded(write)} has lost ${counts.lost} of its rows and has ${counts.twice} twice`);
  }
  broken.push(...sums(stored), ...versions(stored), ...faultsOfOurs(writes));
  const acknowledged = writes.filter((write) => write.acknowledged).length;
  if (writes.every((write) => write.acknowledged || write.refused) && stored.responses !== acknowledged)
    broken.push(`${stored.responses} responses are stored, and ${acknowledged} writes were acknowledged`);
  const known = new Set(writes.map(({ id }) => id));
  const foreign = [...stored.entries.keys()].filter((id) => !known.has(id));
  if (foreign.length > 0) broken.push(`${foreign.length} audit entries belong to no write, such as ${foreign[0]}`);
  const outageMs = outageOf(history);
  const longestMs = longestOf(history);
  if (outageMs > outageLimitMs) broken.push(`an outage went on for ${(outageMs / 1000).toFixed(1)} s after the fault`);
  if (longestMs > longestLimitMs) broken.push(`an answer took ${(longestMs / 1000).toFixed(1)} s`);
  return {
    acknowledged,
    refused: writes.filter((write) => write.refused).length,
    unknown: writes.filter(({ attempts }) => attempts.some(isFailure)).length,
    lost,
    twice,
    outageMs,
    longestMs,
    broken: shortened(broken),
  };
}

function importedRows({ id, body }: Write, { rows }: Stored): { lost: number; twice: number } {
  const counts = (body.items as object[]).map((_, row) => rows.get(`${id}/${row}`) ?? 0);
  return { lost: counts.filter((count) => count === 0).length, twice: counts.filter((count) => count > 1).length };
}

function recorded({ id, kind, acknowledged }: Write): string {
  return `${kind} ${id} (${acknowledged ? acknowledged.status : "never acknowledged"})`;
}

function lastCodes({ attempts }: Write): string {
  return attempts
    .slice(-5)
    .map(({ status, code }) => `${status ?? ""} ${code ?? ""}`.trim())
    .join(", ");
}

/** Whether a row carries the write's id. */
function hasRow({ kind }: Write): boolean {
  return kind !== "change" && kind !== "void";
}

/** Voiding a payment that is void already writes nothing. */
function changesNothing({ kind }: Write): boolean {
  return kind === "void";
}

/** Errors that no injected fault explains. */
function faultsOfOurs(writes: readonly Write[]): string[] {
  return writes.flatMap((write) =>
    write.attempts
      .filter(({ status }) => status === 500 || status === 401 || status === 403)
      .map(({ status, code }) => `${recorded(write)} was answered ${status} ${code}`),
  );
}

/** Money as a whole number of ten-thousandths. */
function exact(amount: string): bigint {
  const [whole = "0", fraction = ""] = amount.split(".");
  return BigInt(whole) * 10_000n + BigInt(fraction.padEnd(4, "0").slice(0, 4));
}

function sums({ contracts, payments }: Stored): string[] {
  return contracts.flatMap(({ id, received }) => {
    const sum = payments
      .filter(({ contractId, status }) => contractId === id && status === "received")
      .reduce((total, { amount }) => total + exact(amount), 0n);
    return sum === exact(received) ? [] : [`contract ${id} says ${received}, its payments come to ${Number(sum) / 10_000}`];
  });
}

/** A record's version counts its changes, and each change has its audit entry. */
function versions({ entries, opportunities, contracts, payments }: Stored): string[] {
  const all = [...entries.values()].flat();
  const changes = new Map<string, number[]>();
  for (const { resourceType, resourceId, version } of all) {
    if (resourceType === "opportunity") changes.set(resourceId, [...(changes.get(resourceId) ?? []), version ?? 0]);
  }
  const ofOpportunities = opportunities.flatMap(({ id, version }) => {
    const seen = (changes.get(id) ?? []).sort((a, b) => a - b);
    const whole = seen.length === version && seen.every((number, index) => number === index + 1);
    return whole ? [] : [`opportunity ${id} is at version ${version}, its audit entries are of ${seen.join(",")}`];
  });
  const ofContracts = contracts.flatMap(({ id, version }) => {
    const own = payments.filter(({ contractId }) => contractId === id);
    const expected = 1 + own.length + own.filter(({ status }) => status === "void").length;
    return version === expected ? [] : [`contract ${id} is at version ${version}, its payments make ${expected}`];
  });
  return [...ofOpportunities, ...ofContracts];
}

async function read(databaseUrl: string, schema: string): Promise<Stored> {
  const client = new pg.Client({ connectionString: databaseUrl });
  await client.connect();
  const rows = async <Row extends object>(text: string) => (await client.query<Row>(text.replaceAll("$tenant", `"${schema}"`))).rows;
  try {
    const entries = await rows<Entry>(
      `select request_id as "requestId", action, resource_type as "resourceType", resource_id as "resourceId", resource_version as version
       from $tenant.audit_logs`,
    );
    const named = await rows<{ id: string }>(
      `select name as id from $tenant.customers union all select name from $tenant.opportunities union all
       select name from $tenant.contracts union all select notes from $tenant.payments`,
    );
    const [stored] = await rows<{ responses: number }>("select count(*)::int as responses from $tenant.idempotency_keys");
    return {
      entries: Map.groupBy(entries, ({ requestId }) => requestId),
      rows: new Map([...Map.groupBy(named, ({ id }) => id)].map(([id, same]) => [id, same.length])),
      opportunities: await rows("select opportunity_id as id, version from $tenant.opportunities"),
      contracts: await rows("select contract_id as id, version, received_amount::text as received from $tenant.contracts"),
      payments: await rows(`select payment_id as id, contract_id as "contractId", amount::text as amount, status from $tenant.payments`),
      responses: stored?.responses ?? 0,
    };
  } finally {
    await client.end();
  }
}

function shortened(sentences: string[]): string[] {
  const shown = 20;
  return sentences.length <= shown ? sentences : [...sentences.slice(0, shown), `and ${sentences.length - shown} more`];
}
