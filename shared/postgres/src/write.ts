import {
  AndNode,
  type Compilable,
  type InsertQueryNode,
  type OperationNode,
  ParensNode,
  RawNode,
  type RootOperationNode,
  type SelectQueryNode,
  sql,
  ValueListNode,
  ValuesNode,
  WhereNode,
} from "kysely";
import { copyLine } from "./driver/copy.ts";
import { type CompiledStatement, compileNode, nodeOf, Parameter, type Parameters, type Statement, tenantTables } from "./statement.ts";

/** What a write records beside its change: the actor, the action and the record. One row of the tenant's `audit_logs`. */
export interface AuditEntry {
  id: string;
  occurredAt: string;
  actorId: string;
  actorType: string;
  action: string;
  resourceType: string;
  resourceId: string;
  resourceName: string | null;
  /** The record's version after the change, if it has one. */
  resourceVersion: number | null;
  /** `[{field, before, after}]` */
  changes: unknown;
  requestId: string;
  importId: string | null;
  ip: string | null;
  userAgent: string | null;
}

/** The claim of an idempotency key together with the stored response. One row of the tenant's `idempotency_keys`. */
export interface Claim {
  /** SHA-256 over caller, method, path and key. */
  key: Buffer;
  /** SHA-256 over the request's content. */
  fingerprint: Buffer;
  status: number;
  /** JSON text, unmasked. */
  body: string;
  resourceId: string | null;
  createdAt: string;
}

/** The stored response of an idempotency key. */
export type StoredResponse = Omit<Claim, "key">;

interface LedgerTables {
  auditLogs: AuditEntry;
  idempotencyKeys: Claim;
}

const ledger = tenantTables<LedgerTables>();

/** One statement of a command: it runs together with the claim, the audit entries and the stored response, or not at all. */
export interface Change {
  statement: Statement<never, unknown>;
  values: object;
  /** Set if the change has to match a row: otherwise everything is rolled back, and the command receives this label. */
  expectation: string | undefined;
}

const isClaimed = RawNode.createWithSql("exists (select from claim)");

const auditColumns = {
  id: "id",
  occurredAt: "occurred_at",
  actorId: "actor_id",
  actorType: "actor_type",
  action: "action",
  resourceType: "resource_type",
  resourceId: "resource_id",
  resourceName: "resource_name",
  resourceVersion: "resource_version",
  changes: "changes",
  requestId: "request_id",
  importId: "import_id",
  ip: "ip",
  userAgent: "user_agent",
} as const satisfies Record<keyof AuditEntry, string>;
const auditNames = Object.keys(auditColumns) as (keyof AuditEntry)[];
const auditRecord = sql<never>`entry(id uuid, occurred_at timestamptz, actor_id text, actor_type text, action text, resource_type text,
  resource_id text, resource_name text, resource_version int, changes json, request_id text, import_id uuid, ip text, user_agent text)`;

/** COPY target of audit entries. */
export const auditCopied = `audit_logs (${Object.values(auditColumns).join(", ")})`;

/** The entries as lines for COPY. */
export function auditLines(entries: readonly AuditEntry[]): string {
  return entries
    .map((entry) => copyLine(auditNames.map((name) => (name === "changes" ? JSON.stringify(entry.changes) : entry[name]))))
    .join("");
}

/** The entries as JSON with column names. */
function auditRecords(entries: readonly AuditEntry[]): string {
  return JSON.stringify(entries.map((entry) => Object.fromEntries(auditNames.map((name) => [auditColumns[name], entry[name]]))));
}

const buildClaim = (p: Parameters<Claim & { lock: string }>) =>
  ledger
    .insertInto("idempotencyKeys")
    .columns(["key", "fingerprint", "status", "body", "resourceId", "createdAt"])
    .expression(
      ledger
        .selectNoFrom([
          p.key.as("key"),
          p.fingerprint.as("fingerprint"),
          p.status.as("status"),
          p.body.as("body"),
          p.resourceId.as("resourceId"),
          p.createdAt.as("createdAt"),
        ])
        // Not waiting for the first one: who waits holds a connection that others need.
        .where(sql<boolean>`pg_try_advisory_xact_lock(${p.lock}::bigint)`),
    )
    .onConflict((conflict) => conflict.doNothing())
    .returning(sql`1`.as("one"));

export const buildStored = (p: Parameters<{ key: Buffer }>) =>
  ledger.selectFrom("idempotencyKeys").select(["fingerprint", "status", "body", "resourceId", "createdAt"]).where("key", "=", p.key);

export const buildDeleteStored = (p: Parameters<{ key: Buffer }>) => ledger.deleteFrom("idempotencyKeys").where("key", "=", p.key);

/** Any number of entries is one parameter, so that the text stays the same. */
const buildAudit = (p: Parameters<{ entries: string }>) =>
  ledger
    .insertInto("auditLogs")
    .columns(auditNames)
    .expression(
      ledger
        .selectFrom(sql<AuditEntry>`json_to_recordset(${p.entries}::json)`.as<"entry">(auditRecord))
        .select(auditNames.map((name) => `entry.${name}` as const)),
    );

/** Parameters of the n-th part of a write, with a prefix. */
function prefixed<P>(prefix: string): Parameters<P> {
  return new Proxy({} as Parameters<P>, { get: (_, name) => sql`${new Parameter(prefix + String(name))}` });
}

/** Makes a change depend on the claim: a repeated request changes nothing. */
function gated(node: RootOperationNode): OperationNode {
  switch (node.kind) {
    case "InsertQueryNode":
      return { ...node, values: gatedRows(node) } as InsertQueryNode;
    case "UpdateQueryNode":
    case "DeleteQueryNode":
      return { ...node, where: gatedWhere(node.where) } as RootOperationNode;
    default:
      throw new Error(`A change cannot be a ${node.kind}`);
  }
}

function gatedWhere(where: WhereNode | undefined): WhereNode {
  return WhereNode.create(where ? AndNode.create(ParensNode.create(where.where), isClaimed) : isClaimed);
}

function gatedRows(node: InsertQueryNode): OperationNode {
  const { values } = node;
  if (values && ValuesNode.is(values)) {
    const [row, more] = values.values;
    if (!row || more || !ValueListNode.is(row)) throw new Error("A change inserts one row of parameters, or selects what it inserts");
    const fragments = row.values.map((_, index) => (index === 0 ? "select " : ", "));
    return RawNode.create([...fragments, " where exists (select from claim)"], row.values);
  }
  if (values?.kind === "SelectQueryNode") {
    const select = values as SelectQueryNode;
    return { ...select, where: gatedWhere(select.where) } as SelectQueryNode;
  }
  throw new Error("A change inserts values or a select of Kysely's");
}

const composed = new Map<string, CompiledStatement>();
const statementIds = new WeakMap<object, number>();
let nextStatementId = 0;

function statementId(statement: object): number {
  let id = statementIds.get(statement);
  if (id === undefined) {
    id = nextStatementId++;
    statementIds.set(statement, id);
  }
  return id;
}

/** The single statement of a whole write: claim, changes, audit entries. Its text depends only on these arguments' shape. */
export function composeWrite(claimed: boolean, changes: readonly Change[], audited: boolean): CompiledStatement {
  const shape = `${claimed ? "k" : "-"}${audited ? "a" : "-"}:${changes.map((change) => `${statementId(change.statement)}${change.expectation ?? ""}`).join(",")}`;
  let compiled = composed.get(shape);
  if (!compiled) {
    compiled = compileNode(writeNode(claimed, changes, audited));
    composed.set(shape, compiled);
  }
  return compiled;
}

interface Part {
  name: string;
  node: OperationNode;
  /** What follows the query: the returned row, by which other parts see whether the change matched one. */
  tail: string;
}

function writeNode(claimed: boolean, changes: readonly Change[], audited: boolean): OperationNode {
  const parts: Part[] = [];
  if (claimed) {
    parts.push({ name: "claim", node: nodeOf(buildClaim(prefixed("claim."))), tail: "" });
    parts.push({ name: "kept", node: nodeOf(buildStored(prefixed("claim."))), tail: "" });
  }
  const write = (name: string, query: Compilable) => {
    parts.push({ name, node: claimed ? gated(nodeOf(query)) : nodeOf(query), tail: " returning 1" });
  };
  changes.forEach((change, index) => {
    write(`change_${index}`, change.statement.build(prefixed<never>(`${index}.`)));
  });
  if (audited) write("audit", buildAudit(prefixed("audit.")));

  const fragments = parts.map((part, index) => `${index === 0 ? "with " : `${parts[index - 1]?.tail}), `}${part.name} as (`);
  fragments.push(`${parts.at(-1)?.tail}) ${resultText(claimed, changes)}`);
  return RawNode.create(
    fragments,
    parts.map((part) => part.node),
  );
}

function resultText(claimed: boolean, changes: readonly Change[]): string {
  const columns = claimed
    ? [
        "exists (select from claim) as claimed",
        ...["fingerprint", "status", "body", "resource_id", "created_at"].map((name) => `kept.${name}`),
      ]
    : ["true as claimed"];
  changes.forEach((change, index) => {
    if (change.expectation === undefined) return;
    const met = `exists (select from change_${index})${claimed ? " or not exists (select from claim)" : ""}`;
    columns.push(`public.expect_row(${met}, '${change.expectation.replaceAll("'", "''")}')`);
  });
  return `select ${columns.join(", ")}${claimed ? " from (values (1)) as one left join kept on true" : ""}`;
}

/** The values of a composed write by their prefixed names. */
export function writeValues(claim: Claim | undefined, changes: readonly Change[], audit: readonly AuditEntry[]): Record<string, unknown> {
  const values: Record<string, unknown> = {};
  const take = (prefix: string, source: object) => {
    for (const [name, value] of Object.entries(source)) values[prefix + name] = value;
  };
  if (claim) {
    take("claim.", claim);
    values["claim.lock"] = lockNumber(claim.key);
  }
  changes.forEach((change, index) => {
    take(`${index}.`, change.values);
  });
  if (audit.length > 0) values["audit.entries"] = auditRecords(audit);
  return values;
}

/** The advisory lock of a request id: a collision only makes one of the two wait. */
export function lockNumber(key: Buffer): string {
  return key.readBigInt64BE(0).toString();
}
