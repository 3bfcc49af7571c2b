import type { Bench, Workload } from "../harness/bench.ts";
import { type Captured, capture, scriptOf } from "../harness/capture.ts";
import { call } from "../harness/client.ts";
import { idSql, tenants } from "../harness/data.ts";
import type { Script } from "../harness/pgbench.ts";
import { atLeast, compare } from "../harness/report.ts";
import { prefix, unique, uniqueValue } from "../harness/requests.ts";
import type { Side } from "../harness/rounds.ts";
import { sealed } from "../harness/tenants.ts";

const tenantId = tenants.written;
const headers = { "content-type": "application/json" };

/** A customer as callers send it, with a name of its own. */
export function newCustomer(serial: string): string {
  const fields = {
    contactName: "张伟",
    contactPhone: "13800138000",
    contactEmail: "contact@example.com",
    industry: "manufacturing",
    tags: ["vip"],
  };
  return JSON.stringify({ name: `某某公司 ${serial}`, ...fields, notes: "met at the fair" });
}

/**
 * Creating a customer with a request id of its own: claim, row with its indexes, audit entry and stored response. Limit: the statement that
 * the product sends, in pgbench, on an equal table of another tenant that nothing seals. Goal: 0.45 of it.
 */
export const create: Workload = {
  id: "W4",
  title: "create",
  async run(bench) {
    const script = await createScript(bench);
    const requests = [{ method: "POST", path: "/customers", headers: { ...headers, "x-request-id": unique }, body: newCustomer(unique) }];
    const { limit, product } = await bench.measure({
      limit: bench.sql("pgbench, same statement", tenants.limit, script),
      product: afterwardsSealed(bench, tenantId, bench.throughGateway("create, through the gateway", tenantId, requests)),
    });
    return [compare("W4", product, limit, ({ ratio }) => [atLeast("ratio", ratio?.median, 0.45)])];
  },
};

/** Entries left to seal after a round must not load the next side. */
export function afterwardsSealed(bench: Bench, writtenTenant: string, side: Side): Side {
  return {
    name: side.name,
    async run(seconds, round) {
      const sample = await side.run(seconds, round);
      await sealed(bench.stack, writtenTenant);
      return sample;
    },
  };
}

async function createScript({ stack }: Bench) {
  const serial = uniqueValue(1);
  const requestId = prefix();
  const captured = await capture(stack, tenantId, () =>
    call(stack, tenantId, "/customers", { method: "POST", headers: { ...headers, "x-request-id": requestId }, body: newCustomer(serial) }),
  );
  const tokens = new Map([
    [serial, ":digits::text"],
    [requestId, ":digits::text"],
    ...idsIn(captured).map((id, index) => [id, idSql(":digits::text").replace("7'", `${8 + index}'`)] as const),
    ...keysIn(captured).map((key) => [key, `'\\x' || lpad(:digits::text, 64, '0')`] as const),
    ...locksIn(captured).map((lock) => [lock, ":digits::text"] as const),
  ]);
  return () => Promise.resolve(countingScript(captured, tokens));
}

/**
 * The statements for the limits' tenant, with `:digits` that grow with time, as the product's ids do: unique over all transactions and
 * rounds.
 */
export function countingScript(captured: readonly Captured[], tokens: ReadonlyMap<string, string>, preamble = ""): Script {
  const digits = `\\set n :n + 1\n\\set digits ${BigInt(Date.now()) * 1_000_000n} + :n * 100 + :client_id\n`;
  const { text, variables } = scriptOf(elsewhere(captured), tokens, digits + preamble);
  return { text, variables: { ...variables, n: "0" } };
}

function elsewhere(captured: readonly Captured[]): Captured[] {
  return captured.map((statement) => ({ ...statement, text: statement.text.replaceAll('"tenant_bench_written"', '"tenant_bench_limit"') }));
}

/** The ids that a write made: they are in its values. */
export function idsIn(captured: readonly Captured[], known: readonly string[] = []): string[] {
  const text = captured.flatMap(({ values }) => values).join(" ");
  const ids = text.match(/[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}/g) ?? [];
  return [...new Set(ids)].filter((id) => !known.includes(id));
}

/** The idempotency keys of the requests, and their fingerprints. */
export function keysIn(captured: readonly Captured[]): string[] {
  return [...new Set(valuesOfType(captured, "bytea"))];
}

/** The numbers of the advisory locks. */
export function locksIn(captured: readonly Captured[]): string[] {
  return [...new Set(valuesOfType(captured, "bigint"))];
}

function valuesOfType(captured: readonly Captured[], wanted: string): string[] {
  return captured.flatMap(({ values, types }) => values.filter((value, index) => value !== null && types[index] === wanted)) as string[];
}
