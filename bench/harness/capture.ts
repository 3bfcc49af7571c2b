import { readFileSync, statSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { schemaOf } from "@cell/postgres/tenants";
import { call } from "./client.ts";
import type { Script } from "./pgbench.ts";
import type { Stack } from "./stack.ts";

/** A statement that the product sent. */
export interface Captured {
  /** With $1, $2, … */
  text: string;
  /** As text; null for null. */
  values: (string | null)[];
  /** The parameters' types, as PostgreSQL infers them. */
  types: string[];
}

/** Resolves to the statements that the product sends to a tenant's schema during `work`, from the server's log. */
export async function capture(stack: Stack, tenantId: string, work: () => Promise<unknown>): Promise<Captured[]> {
  const role = `"${schemaOf(tenantId)}"`;
  const settings = { log_statement: "all", log_error_verbosity: "default", log_parameter_max_length: "-1" };
  for (const [name, value] of Object.entries(settings)) await stack.superuser.query(`alter role ${role} set ${name} = '${value}'`);
  try {
    await closeConnections(stack, tenantId);
    const start = statSync(stack.postgresLog).size;
    await work();
    // The last log lines may not be written yet.
    await sleep(100);
    const found = statementsIn(readFileSync(stack.postgresLog).subarray(start).toString(), schemaOf(tenantId));
    return await Promise.all(found.map(async (statement) => ({ ...statement, types: await typesOf(stack, statement.text) })));
  } finally {
    for (const name of Object.keys(settings)) await stack.superuser.query(`alter role ${role} reset ${name}`);
    await closeConnections(stack, tenantId);
    // A read first: otherwise writers could take all of the tenant's connections.
    await call(stack, tenantId, "/customers?pageSize=1");
  }
}

/** A role's settings are read when a connection is opened. */
async function closeConnections(stack: Stack, tenantId: string): Promise<void> {
  await stack.superuser.query("select pg_terminate_backend(pid) from pg_stat_activity where usename = $1", [schemaOf(tenantId)]);
  await sleep(100);
}

async function typesOf(stack: Stack, text: string): Promise<string[]> {
  const client = await stack.superuser.connect();
  try {
    await client.query(`prepare captured as ${text}`);
    const { rows } = await client.query<{ types: string[] }>(
      "select parameter_types::text[] as types from pg_prepared_statements where name = 'captured'",
    );
    await client.query("deallocate captured");
    return rows[0]?.types ?? [];
  } finally {
    client.release();
  }
}

/** A log line begins with the time, the process and the connection; a statement's own line breaks are followed by a tab. */
const entry = /^\d{4}-\d\d-\d\d [\d:.]+ UTC \[(\d+)\] (\S+)@\S+ .*? (LOG|DETAIL): {2}([^\n]*(?:\n\t[^\n]*)*)/gm;

/** The statements with parameters that a role sent. Exported for its test. */
export function statementsIn(log: string, role: string): { text: string; values: (string | null)[] }[] {
  const statements: { text: string; values: (string | null)[] }[] = [];
  for (const [, , user, kind, message = ""] of log.matchAll(entry)) {
    if (user !== role) continue;
    const said = message.replaceAll("\n\t", "\n");
    const executed = /^execute [^:]+: ([\s\S]*)$/.exec(said)?.[1];
    if (kind === "LOG" && executed !== undefined) statements.push({ text: executed, values: [] });
    const parameters = /^Parameters: ([\s\S]*)$/i.exec(said)?.[1];
    const last = statements.at(-1);
    if (kind === "DETAIL" && parameters !== undefined && last) last.values = valuesIn(parameters);
  }
  return statements.filter(({ text }) => /^(select|with|insert|update)/i.test(text));
}

function valuesIn(parameters: string): (string | null)[] {
  return [...parameters.matchAll(/\$\d+ = (?:NULL|'((?:[^']|'')*)')/g)].map(([, value]) => value?.replaceAll("''", "'") ?? null);
}

/**
 * Statements as a script for pgbench. Where a value contains one of `tokens`, each transaction computes that part by the token's SQL
 * expression of type text, in which `:name` is a variable of `preamble`; everything else stays a parameter.
 */
export function scriptOf(statements: readonly Captured[], tokens: ReadonlyMap<string, string>, preamble: string): Script {
  const variables: Record<string, string> = {};
  const lines = statements.map(({ text, values, types }, at) => {
    const constant = (part: string): string => {
      const name = `v${at}_${Object.keys(variables).length}`;
      variables[name] = part;
      return `:${name}`;
    };
    const expression = (index: number): string => {
      const value = values[index] ?? null;
      const type = types[index] ?? "text";
      if (value === null) return `null::${type}`;
      const parts = split(value, [...tokens.keys()]);
      if (parts.length === 1 && !tokens.has(value)) return constant(value);
      const made = parts.filter((part) => part !== "").map((part) => tokens.get(part) ?? `${constant(part)}::text`);
      return `(${made.join(" || ")})::${type}`;
    };
    // pgbench takes a colon before a letter or digit for a variable: besides `::`, none is left once the values are parameters.
    return `${text.replaceAll("\n", " ").replace(/\$(\d+)/g, (_, number) => expression(Number(number) - 1))};`;
  });
  return { text: `${preamble}${lines.join("\n")}\n`, variables };
}

function split(value: string, tokens: readonly string[]): string[] {
  if (tokens.length === 0) return [value];
  return value.split(new RegExp(`(${tokens.map((token) => RegExp.escape(token)).join("|")})`));
}
