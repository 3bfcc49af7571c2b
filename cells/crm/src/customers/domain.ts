import { inStoredOrder } from "@cell/cell";
import { Problem } from "@cell/problem";
import { excessOf } from "../custom-fields.ts";
import { blankCustomer, type Customer, type CustomerInput, mostTags } from "./schema.ts";

/** The user who creates or changes a customer. */
export interface Actor {
  userId: string;
  /** Limited to its own records. */
  ownOnly: boolean;
}

/** A new customer from a caller's input. Throws FORBIDDEN if the actor may not assign it to that owner. */
export function newCustomer(input: CustomerInput, actor: Actor, identity: { customerId: string; now: string }): Customer {
  const { customerId, now } = identity;
  const created = {
    ...blankCustomer,
    ...input,
    ownerId: input.ownerId ?? actor.userId,
    customerId,
    createdAt: now,
    updatedAt: now,
    version: 1,
  };
  checkOwner(created.ownerId, actor);
  return created;
}

/** Throws FORBIDDEN if the actor may not assign a record to that owner. */
export function checkOwner(ownerId: string, { userId, ownOnly }: Actor): void {
  if (ownOnly && ownerId !== userId)
    throw new Problem("FORBIDDEN", "You can only assign records to yourself; a manager can assign them to others");
}

/**
 * The custom fields of all customers; the survivor's values win. Throws CONFLICT for more than one record may have: none is dropped
 * silently.
 */
function unitedFields(survivor: Customer, sources: readonly Customer[]): Customer["customFields"] {
  const united = Object.assign({}, ...sources.map((source) => source.customFields).reverse(), survivor.customFields);
  const adds = Object.keys(united).length > Object.keys(survivor.customFields).length;
  const excess = adds ? excessOf(united) : undefined;
  if (excess)
    throw new Problem("CONFLICT", `The custom fields of these customers cannot be merged: one customer's ${excess}; remove some first`, {
      details: { field: "customFields" },
    });
  return inStoredOrder(united) as Customer["customFields"];
}

/** The tags of all customers, the survivor's first. Throws CONFLICT for more than one record may have: none is dropped silently. */
function unitedTags(survivor: Customer, sources: readonly Customer[]): string[] {
  const united = [...new Set([survivor, ...sources].flatMap(({ tags }) => tags))];
  if (united.length > mostTags && united.length > survivor.tags.length)
    throw new Problem(
      "CONFLICT",
      `These customers have ${united.length} different tags together, one may have ${mostTags}; remove some first`,
      {
        details: { field: "tags" },
      },
    );
  return united;
}

/**
 * The survivor of a merge: its values win, blank ones are filled from the others in order, tags and custom fields are united. Throws
 * CONFLICT.
 */
export function merged(survivor: Customer, sources: readonly Customer[], now: string): Customer {
  const result: Record<string, unknown> = { ...survivor };
  for (const source of sources) {
    for (const [field, value] of Object.entries(source)) {
      if (field in blankCustomer && result[field] === null) result[field] = value;
    }
  }
  const customFields = unitedFields(survivor, sources);
  return { ...(result as Customer), tags: unitedTags(survivor, sources), customFields, updatedAt: now, version: survivor.version + 1 };
}
