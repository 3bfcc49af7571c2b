import type { MoveResponse } from "../admin/moves/schema.ts";
import { ApiError, Client } from "./client.ts";
import type { Settings } from "./config.ts";
import type { CommandResult } from "./output.ts";
import { allPages } from "./tenants.ts";

interface CellList {
  data: { cell: string; partitions: PartitionState[] }[];
}

interface PartitionState {
  partition: string;
  url: string;
  healthy: boolean;
  problems?: string[];
  openDoors?: number;
  tenants: number;
}

interface Readiness {
  /** If it is not ready. */
  message?: string;
  details?: { checks?: Checks };
  checks?: Checks;
}

interface Checks {
  identityProvider?: "none" | "fresh" | "kept" | "missing";
}

const clockToleranceMs = 5_000;

/** Result of a check; `open` is not a fault, but worth knowing. */
interface Finding {
  state: "ok" | "FAIL" | "open";
  message: string;
}

/** Checks the system and reports in sentences. The exit code is 1 if something is wrong. */
export async function doctor(settings: Settings): Promise<CommandResult> {
  const findings: Finding[] = [];
  await examine(settings, (state, message) => findings.push({ state, message }));
  const isWell = findings.every(({ state }) => state !== "FAIL");
  const show = () => {
    for (const { state, message } of findings) console.log(`${state.padEnd(5)} ${message}`);
  };
  return { data: { isWell, findings }, show, exitCode: isWell ? 0 : 1 };
}

async function examine({ gateway, operatorKey }: Settings, find: (state: Finding["state"], message: string) => void): Promise<void> {
  const good = (sentence: string) => find("ok", sentence);
  const bad = (sentence: string) => find("FAIL", sentence);

  const health = await fetch(`${gateway}/health`).catch(() => undefined);
  if (!health?.ok) {
    bad(`The gateway at ${gateway} cannot be reached. Is it started? (npm start)`);
    return;
  }
  good(`The gateway at ${gateway} is reachable.`);

  const ready = await fetch(`${gateway}/ready`);
  const readiness = (await ready.json()) as Readiness;
  if (ready.ok) good("It is ready: its database responds.");
  else bad(`It is not ready: ${readiness.message}.`);
  const { identityProvider = "none" } = readiness.checks ?? readiness.details?.checks ?? {};
  if (identityProvider === "none") good("It only accepts API keys: no identity provider is configured.");
  else if (identityProvider === "fresh") good("It accepts access tokens of its identity provider, which is reachable.");
  else if (identityProvider === "kept") bad("Its identity provider is not reachable; its last known keys are in use.");
  else bad("Its identity provider is not reachable, and its keys were never read: access tokens are rejected. Its log has the reason.");

  const skewMs = Math.abs(Date.parse(health.headers.get("date") ?? "") - Date.now());
  if (skewMs < clockToleranceMs) good("Its clock and ours agree.");
  else bad(`Its clock and ours differ by ${Math.round(skewMs / 1000)} seconds.`);

  if (operatorKey === undefined) {
    bad("Further checks need a key: give --key, or set CRM_KEY.");
    return;
  }
  try {
    const { data } = await new Client(gateway, operatorKey).json<CellList>({ path: "/api/admin/cells" });
    good("The key is valid; it is the operator's.");
    for (const { partition, url, healthy, problems = [], openDoors = 0, tenants } of data.flatMap(({ partitions }) => partitions)) {
      if (healthy) good(`${partition} at ${url} is healthy (${tenants} tenants).`);
      else bad(`${partition} at ${url} does not answer (${tenants} tenants are placed there).`);
      for (const problem of problems) bad(`${partition}: ${problem}`);
      if (openDoors > 0) {
        // Not a fault: without a superuser, as with a managed database, nobody can revoke them.
        find(
          "open",
          `${partition}: the tenants' database logins may use ${openDoors} functions and views that lead out of their bounds; ` +
            "a superuser revokes them by deploy/postgres/bootstrap.sql.",
        );
      }
    }
    const moves = await allPages<MoveResponse>(new Client(gateway, operatorKey), "/api/admin/moves", {});
    for (const sentence of faultsOf(moves)) bad(sentence);
    for (const sentence of movesToKnow(moves)) good(sentence);
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    if (error.code === "FORBIDDEN") good("The key is valid; only the operator can see the state of the cells.");
    else bad(`The key does not work: ${error.message} (request ${error.requestId ?? "unknown"}).`);
  }
}

/** Faults of tenants since their last move. `moves`: newest first. */
function faultsOf(moves: readonly MoveResponse[]): string[] {
  const last = new Map<string, MoveResponse>();
  for (const move of moves) if (!last.has(`${move.cell} ${move.tenantId}`)) last.set(`${move.cell} ${move.tenantId}`, move);
  return [...last.values()].flatMap(({ tenantId, to, state, failure }) =>
    state === "done" && failure ? [`${tenantId} was moved to ${to}: ${failure}.`] : [],
  );
}

/** Moves in progress, and copies that moves have left. */
function movesToKnow(moves: readonly MoveResponse[]): string[] {
  return moves.flatMap(({ tenantId, from, to, state, step, leftover }) => {
    const ended = state === "done" || state === "failed";
    return [
      ...(ended ? [] : [`${tenantId} moves from ${from} to ${to}: ${step}.`]),
      ...(leftover ? [`${leftover} keeps a copy of ${tenantId} that is not served: crm tenant forget ${tenantId} drops it.`] : []),
    ];
  });
}
