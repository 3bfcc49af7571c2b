import { setTimeout as sleep } from "node:timers/promises";
import type { MoveResponse as Move } from "../admin/moves/schema.ts";
import { ApiError, type Client } from "./client.ts";
import { type CommandResult, lines, printTable } from "./output.ts";
import { allPages } from "./tenants.ts";

const path = "/api/admin/moves";
const pollMs = 200;

export interface MoveOptions {
  to?: string;
  back?: boolean;
}

/** Moves a tenant and reports the progress. Rejects with an ApiError if the tenant stayed where it was. */
export async function moveTenant(client: Client, tenantId: string, options: MoveOptions): Promise<CommandResult> {
  const to = options.back ? await lastOrigin(client, tenantId) : options.to;
  if (to === undefined) throw new ApiError("Give the target: --to <partition>, or --back");
  const started = await client.json<Move>({ path: `/api/admin/tenants/${encodeURIComponent(tenantId)}/move`, json: { to } });
  const move = await follow(client, started);
  if (move.state === "failed") throw new ApiError(`${tenantId} has stayed on ${move.from}: ${move.failure ?? "no reason is known"}`);
  const show = lines(
    ...(move.failure ? [`${move.failure}: the copy on ${move.from} is the one to look at.`] : []),
    `${tenantId} is on ${to}: ${move.rows} rows, its writes were paused for ${move.pauseMs ?? 0} ms.`,
    `The copy on ${move.from} is kept and not served: crm tenant forget ${tenantId} drops it.`,
  );
  return { data: move, show, exitCode: move.failure ? 1 : 0 };
}

export async function listMoves(client: Client, tenantId: string | undefined): Promise<CommandResult> {
  const moves = await allPages<Move>(client, path, { tenantId });
  const show = () =>
    printTable(
      ["MOVE", "TENANT", "FROM", "TO", "STATE", "ROWS", "PAUSE MS", "STARTED", "COPY LEFT ON", "FAILURE"],
      moves.map((move) => [
        move.moveId,
        move.tenantId,
        move.from,
        move.to,
        move.state,
        move.rows,
        move.pauseMs,
        move.startedAt,
        move.leftover,
        move.failure,
      ]),
    );
  return { data: moves, show };
}

/** Drops the copies that moves have left. */
export async function forgetCopies(client: Client, tenantId: string): Promise<CommandResult> {
  const tenant = encodeURIComponent(tenantId);
  const data = await client.json<{ dropped: string[] }>({ method: "DELETE", path: `/api/admin/tenants/${tenant}/copies` });
  const { dropped } = data;
  const text = dropped.length > 0 ? `The copies on ${dropped.join(", ")} are deleted.` : `${tenantId} has left no copy anywhere.`;
  return { data, show: lines(text) };
}

/** The partition from which the tenant came last. */
async function lastOrigin(client: Client, tenantId: string): Promise<string | undefined> {
  const moves = await allPages<Move>(client, path, { tenantId });
  const last = moves.find(({ state }) => state === "done");
  if (!last) throw new ApiError(`${tenantId} has not been moved`);
  return last.from;
}

async function follow(client: Client, started: Move): Promise<Move> {
  let said = "";
  for (let move = started; ; ) {
    const { step, state, rows } = move;
    if (state === "done" || state === "failed") return move;
    if (step !== said) console.error(`${step}${rows > 0 ? ` (${rows} rows so far)` : ""} …`);
    said = step;
    await sleep(pollMs);
    move = await client.json<Move>({ path: `${path}/${move.moveId}` });
  }
}
