import { type AuditDraft, audited, type Resource } from "@cell/cell";
import type { TenantTx } from "@cell/postgres";

/** One customer that is merged into another, with the actor and the time. */
export interface CustomerMove {
  from: string;
  to: string;
  now: string;
  actorId: string;
  requestId: string;
}

/** Moves one kind of customers' records immediately, inside the merge's transaction; resolves to their audit entries. */
export type ReassignOnMerge = (tx: TenantTx, move: CustomerMove) => Promise<AuditDraft[]>;

/** Makes a resource take part in merges by its repository's move function. */
export function movesWithCustomer<Row extends object>(
  resource: Resource<Row>,
  move: (tx: TenantTx, move: CustomerMove) => Promise<Partial<Row>[]>,
): ReassignOnMerge {
  return async (tx, { from, to, ...by }) => {
    const moved = await move(tx, { from, to, ...by });
    return moved.map((row) => ({
      ...audited("update", resource, row, row),
      changes: [{ field: "customerId", before: from, after: to }],
    }));
  };
}
