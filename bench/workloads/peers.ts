import { join } from "node:path";
import { type Bench, gets, spreadNumbers, type Workload } from "../harness/bench.ts";
import { call } from "../harness/client.ts";
import { cursors, type ListPage } from "../harness/cursors.ts";
import { ensureCustomers, idOf } from "../harness/data.ts";
import { atLeast, compare, type Line } from "../harness/report.ts";
import { type LoadRequest, unique } from "../harness/requests.ts";
import type { Side } from "../harness/rounds.ts";
import { dropTenant } from "../harness/tenants.ts";
import { countCustomers, dropDatabase, makeDatabase } from "../peers/database.ts";
import { directus } from "../peers/directus.ts";
import type { Peer, Product } from "../peers/peer.ts";
import { postgraphile } from "../peers/postgraphile.ts";
import { afterwardsSealed, newCustomer } from "./w04-create.ts";

// Its own in each run: what an earlier one has left is not in its way.
const tenantId = `bench-peers-${Date.now().toString(36)}`;
const fields = JSON.parse(newCustomer(unique)) as Record<string, unknown>;

/**
 * Cell CRM through its gateway, with authentication, permissions, masking, idempotency and audit, against other products on the same
 * PostgreSQL, each with 100,000 equal customers in a database of its own that is made for the run: one customer by its id, a page of the
 * 20 newest first, a create. Nobody counts the list's total: the peers give its first page, which is the cheapest, ours one by a cursor
 * anywhere. The peers have the primary key and the index of the list; ours has those for names, owners and search as well. Goals: 20 times
 * Directus; of PostGraphile 1.3 times the get, 2 times the list, 1 times the create.
 */
export const peers: Workload = {
  id: "peers",
  title: "Directus and PostGraphile",
  async run(bench) {
    const { stack, config, log } = bench;
    const running: Running = {};
    try {
      await ensureCustomers(stack, tenantId, config.sizes.customers, log);
      running.directus = await start(bench, directus, 0);
      running.postgraphile = await start(bench, postgraphile, 1);
      if (!running.directus && !running.postgraphile) throw new Error("there is nothing to compare with");
      return [...(await getById(bench, running)), ...(await list(bench, running)), ...(await create(bench, running))];
    } finally {
      for (const peer of Object.values(running)) await peer?.stop();
      for (const product of [directus, postgraphile]) await dropDatabase(stack, databaseOf(product));
      await dropTenant(stack, tenantId);
    }
  },
};

/** A product that could be started, with its database. */
interface Opponent extends Peer {
  name: string;
  id: string;
  databaseUrl: string;
}

interface Running {
  directus?: Opponent | undefined;
  postgraphile?: Opponent | undefined;
}

function databaseOf({ id }: Product): string {
  return `bench_${id}`;
}

async function start({ stack, config, log }: Bench, product: Product, number: number): Promise<Opponent | undefined> {
  const { id, name } = product;
  let peer: Peer | undefined;
  try {
    const databaseUrl = await makeDatabase(stack, databaseOf(product));
    const dir = join(config.dir, "peers", id);
    const port = config.ports.spare + number;
    peer = await product.start({ stack, dir, databaseUrl, port, customers: config.sizes.customers, log });
    await probe(peer);
    return { ...peer, id, name, databaseUrl };
  } catch (error) {
    await peer?.stop();
    log(`${name} cannot be compared with: ${error instanceof Error ? error.message : error}`);
    return undefined;
  }
}

/** Rejects unless each response has whole customers: an error of GraphQL has status 200. */
async function probe({ url, get, list, create }: Peer): Promise<void> {
  const asked: [LoadRequest, number][] = [
    [get(idOf(17)), 1],
    [list, 20],
    [create(fields), 1],
  ];
  for (const [{ path, method, headers, body }, expected] of asked) {
    const response = await fetch(url + path, { method, headers, ...(body === undefined ? {} : { body }) });
    const text = await response.text();
    const found = text.match(/"contact_?email":"/gi)?.length ?? 0;
    if (!response.ok || found !== expected) throw new Error(`${method} ${path} answers ${response.status}: ${text.slice(0, 500)}`);
  }
}

async function getById(bench: Bench, running: Running): Promise<Line[]> {
  const ids = spreadNumbers(5_000, bench.config.sizes.customers).map(idOf);
  const ours = bench.throughGateway("get by id", tenantId, gets(ids.map((id) => `/customers/${id}`)));
  const side = (peer: Opponent) => sideOf(bench, ours, peer, ids.map(peer.get));
  return measured(bench, running, ours, side, { directus: 20, postgraphile: 1.3 });
}

async function list(bench: Bench, running: Running): Promise<Line[]> {
  const { stack, config } = bench;
  const first = await call<ListPage>(stack, tenantId, "/customers");
  const numbers = spreadNumbers(2_000, config.sizes.customers - 20).map((n) => n + 20);
  const places = await cursors(stack, tenantId, first.body.nextCursor, numbers);
  const ours = bench.throughGateway("page of 20", tenantId, gets(places.map(({ cursor }) => `/customers?cursor=${cursor}`)));
  const side = (peer: Opponent) => sideOf(bench, ours, peer, [peer.list]);
  return measured(bench, running, ours, side, { directus: 20, postgraphile: 2 });
}

async function create(bench: Bench, running: Running): Promise<Line[]> {
  const headers = { "content-type": "application/json", "x-request-id": unique };
  const request = { method: "POST", path: "/customers", headers, body: JSON.stringify(fields) };
  const ours = afterwardsSealed(bench, tenantId, bench.throughGateway("create", tenantId, [request]));
  const side = (peer: Opponent) => counted(peer, sideOf(bench, ours, peer, [peer.create(fields)]));
  return measured(bench, running, ours, side, { directus: 20, postgraphile: 1 });
}

function sideOf(bench: Bench, ours: Side, { name, id, url, pid }: Opponent, requests: LoadRequest[]): Side {
  return bench.http(`${ours.name}, ${name}`, url, { [id]: pid, ...bench.stack.pids() }, () => requests);
}

/** Counts the rows in the table: missing ones are errors, whatever their status said. */
function counted({ databaseUrl }: Opponent, side: Side): Side {
  return {
    name: side.name,
    async run(seconds, round) {
      const before = await countCustomers(databaseUrl);
      const sample = await side.run(seconds, round);
      const missing = sample.count - ((await countCustomers(databaseUrl)) - before);
      return { ...sample, errors: sample.errors + Math.max(0, missing) };
    },
  };
}

async function measured(
  bench: Bench,
  running: Running,
  ours: Side,
  side: (peer: Opponent) => Side,
  goals: Record<keyof Running, number>,
): Promise<Line[]> {
  const sides = {
    ours,
    directus: running.directus && side(running.directus),
    postgraphile: running.postgraphile && side(running.postgraphile),
  };
  const { ours: product, directus, postgraphile } = await bench.measure(sides);
  return [
    compare("P1", product, directus, ({ ratio }) => [atLeast("× Directus", ratio?.median, goals.directus)]),
    compare("P2", product, postgraphile, ({ ratio }) => [atLeast("× PostGraphile", ratio?.median, goals.postgraphile)]),
    ...(directus ? [compare("P1", directus, undefined)] : []),
    ...(postgraphile ? [compare("P2", postgraphile, undefined)] : []),
  ];
}
