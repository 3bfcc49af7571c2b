import type { Permission } from "@cell/http";
import type { Generated, Kysely, Transaction } from "kysely";
import type { Role } from "../auth/roles.ts";

export interface TenantsTable {
  tenantId: string;
  name: string;
  status: Generated<"active" | "suspended">;
  /** Requests per second; null: the gateway's setting, 0: no limit. */
  rateLimit: number | null;
  /** Storage quota in a cell in bytes; null: no limit. */
  quotaBytes: number | null;
  createdAt: Generated<string>;
}

export interface ApiKeysTable {
  keyId: string;
  tenantId: string;
  userId: string;
  role: Role;
  /** Replaces the role's permissions. */
  permissions: Permission[] | null;
  actAs: boolean;
  name: string | null;
  prefix: string;
  secretHash: Buffer;
  env: string;
  createdAt: Generated<string>;
  expiresAt: string | null;
  lastUsedAt: string | null;
  revokedAt: string | null;
  rotatedFrom: string | null;
}

export interface PlacementsTable {
  cell: string;
  tenantId: string;
  partition: string;
  /** False while the cell may not have the tenant yet, or no longer. */
  provisioned: Generated<boolean>;
}

export const runningStates = ["copying", "paused", "flipped", "aborting"] as const;

export interface MovesTable {
  moveId: Generated<number>;
  /** The epoch, which numbers its steps in the cells. */
  epoch: Generated<number>;
  cell: string;
  tenantId: string;
  fromPartition: string;
  toPartition: string;
  /** Before `flipped` it can be reverted; from there on it will be finished. */
  state: Generated<(typeof runningStates)[number] | "done" | "failed">;
  step: Generated<string>;
  rows: Generated<number>;
  /** The gateway process that carries it out. */
  runner: string;
  heartbeatAt: Generated<string>;
  startedAt: Generated<string>;
  pausedAt: string | null;
  pauseMs: number | null;
  finishedAt: string | null;
  failure: string | null;
  /** The partition with a remaining copy that is not served. */
  leftover: string | null;
}

export interface Tables {
  "gateway.moves": MovesTable;
  "gateway.tenants": TenantsTable;
  "gateway.apiKeys": ApiKeysTable;
  "gateway.partitions": { cell: string; partition: string; url: string };
  "gateway.placements": PlacementsTable;
  "gateway.cellDeclarations": { cell: string; partition: string; declaration: string; changedAt: Generated<string> };
  "gateway.revision": { onlyRow: Generated<boolean>; revision: number };
}

/** A handle for reading the control plane. */
export type ControlDb = Kysely<Tables>;
/** A handle for writing it; created by `change`. */
export type ControlTx = Transaction<Tables>;

/** Runs `work` in one transaction and increments the revision, by which every gateway process notices the change. */
export function change<T>(db: ControlDb, work: (tx: ControlTx) => Promise<T>): Promise<T> {
  return db.transaction().execute(async (tx) => {
    const result = await work(tx);
    await tx
      .updateTable("gateway.revision")
      .set((row) => ({ revision: row("revision", "+", 1) }))
      .execute();
    return result;
  });
}
