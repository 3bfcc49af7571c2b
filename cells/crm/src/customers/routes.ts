import {
  type AuditDraft,
  applyPatch,
  audited,
  type Cell,
  endpoint,
  hiddenFields,
  idParams,
  listOf,
  listQuery,
  listResponse,
  type RequestContext,
  type RequestContextOf,
  readableKinds,
  requireVersion,
  visibility,
  withoutMasked,
} from "@cell/cell";
import type { TenantDb, TenantTx } from "@cell/postgres";
import { badField, notFound, Problem } from "@cell/problem";
import { v7 as uuidv7 } from "uuid";
import { namedId, recordVisibility } from "../visibility.ts";
import { checkOwner, merged, newCustomer } from "./domain.ts";
import { ownedBy } from "./imports/bulk-write.ts";
import type { ReassignOnMerge } from "./merge-participants.ts";
import * as customers from "./repository.ts";
import { type Customer, customer, customerDeleted, customerInput, customerPatch, mergeInput } from "./schema.ts";

const tag = "Customers";
const readableBy = recordVisibility(customer, ownedBy);

const listCustomers = endpoint({
  method: "get",
  path: "/customers",
  permission: "crm:read",
  tag,
  summary: "List customers",
  query: listQuery,
  status: 200,
  response: listOf(customer, listResponse(customer)),
});

const createCustomer = endpoint({
  method: "post",
  path: "/customers",
  permission: "crm:write",
  tag,
  summary: "Create a customer",
  description: "Idempotent by X-Request-ID. The name of another live customer is a 409 DUPLICATE_NAME with `details.existingId`.",
  body: customerInput,
  example: {
    body: {
      name: "Example Trading Ltd",
      contactName: "张伟",
      contactPhone: "13800138000",
      contactEmail: "contact@example.com",
      tags: ["vip"],
    },
    response: { name: "Example Trading Ltd", industry: null, level: null, source: null, customFields: {} },
  },
  status: 201,
  response: customer,
  versioned: true,
  visibility: readableBy,
});

const getCustomer = endpoint({
  method: "get",
  path: "/customers/{id}",
  permission: "crm:read",
  tag,
  summary: "Read a customer",
  params: idParams,
  status: 200,
  response: customer,
  versioned: true,
});

const changeCustomer = endpoint({
  method: "patch",
  path: "/customers/{id}",
  permission: "crm:write",
  tag,
  summary: "Change a customer",
  description:
    "Omitted fields stay unchanged. A masked value sent back means unchanged. A value of a field that the caller may not read always counts as a change.",
  params: idParams,
  body: customerPatch,
  example: { body: { status: "active", tags: ["vip", "2026"] }, response: { status: "active", tags: ["vip", "2026"], version: 2 } },
  status: 200,
  response: customer,
  versioned: true,
  visibility: readableBy,
});

const deleteCustomer = endpoint({
  method: "delete",
  path: "/customers/{id}",
  permission: "crm:write",
  tag,
  summary: "Delete a customer",
  description: "It can be restored; its name can be reused immediately.",
  params: idParams,
  status: 200,
  response: customerDeleted,
  versioned: true,
  visibility: readableBy,
});

const restoreCustomer = endpoint({
  method: "post",
  path: "/customers/{id}/restore",
  permission: "crm:write",
  tag,
  summary: "Restore a customer",
  params: idParams,
  status: 200,
  response: customer,
  versioned: true,
  visibility: readableBy,
});

const mergeCustomers = endpoint({
  method: "post",
  path: "/customers/{id}/merge",
  permission: "crm:write",
  tag,
  summary: "Merge other customers into this one",
  description: "This customer's values win; its blank fields are filled from the others, which are deleted.",
  params: idParams,
  body: mergeInput,
  example: { body: { sourceIds: ["0197c3a2-8d2f-7a4b-8c64-1e7c7b2a3d21"] }, response: { version: 2 } },
  status: 200,
  response: customer,
  versioned: true,
  visibility: readableBy,
});

/** Routes of customers. `children`: the records that a merge moves along. */
export function customerRoutes(cell: Cell, children: readonly ReassignOnMerge[]): void {
  cell.list(listCustomers, customers.lists);

  cell.command(createCustomer, async (context, tx) => {
    const input = withoutMasked(customer.sensitive, undefined, context.body);
    const created = newCustomer(input, actorOf(context), { customerId: uuidv7(), now: context.now });
    return {
      changes: [customers.insert(tx, created)],
      audit: [audited("create", customer, {}, created)],
      body: created,
      conflicts: nameConflict(context, created.name),
    };
  });

  cell.read(getCustomer, "Customer", async (context, tenant) => {
    const found = await customers.findRow(tenant, context.params.id, visibility(context));
    if (found.length === 0) throw await goneProblem(context, tenant);
    return found;
  });

  cell.command(changeCustomer, async (context, tx) => {
    const current = await requireVersion(context, tx, customer, await customers.find(tx, context.params.id, visibility(context)));
    const patch = withoutMasked(customer.sensitive, current, context.body);
    if (patch.ownerId !== undefined && patch.ownerId !== current.ownerId) checkOwner(patch.ownerId, actorOf(context));
    const hidden = hiddenFields(customer.sensitive, patch, readableKinds(context.caller));
    const next = applyPatch(current, patch, context.now, hidden);
    if (next === current) return { changes: [], audit: [], body: current, resourceId: current.customerId };
    return {
      changes: [customers.update(tx, next, current.version)],
      audit: [audited("update", customer, current, next, hidden)],
      body: next,
      conflicts: nameConflict(context, next.name),
    };
  });

  cell.command(deleteCustomer, async (context, tx) => {
    const current = await requireVersion(context, tx, customer, await customers.find(tx, context.params.id, visibility(context)));
    return {
      changes: [customers.remove(tx, current.customerId, current.version, context.now)],
      audit: [audited("delete", customer, current, { ...current, version: current.version + 1 })],
      body: { customerId: current.customerId, deleted: true as const },
    };
  });

  cell.command(restoreCustomer, async (context, tx) => {
    const current = await requireVersion(context, tx, customer, await customers.findAny(tx, context.params.id, visibility(context)));
    if (current.deletedAt === null) return { changes: [], audit: [], body: current, resourceId: current.customerId };
    if (current.mergedInto)
      throw new Problem("CONFLICT", "This customer was merged into another one", { details: await survivorOf(context, current) });
    const next: Customer = { ...current, updatedAt: context.now, version: current.version + 1 };
    return {
      changes: [customers.update(tx, next, current.version)],
      audit: [audited("restore", customer, current, next)],
      body: next,
      conflicts: nameConflict(context, next.name),
    };
  });

  cell.command(mergeCustomers, async (context, tx) => {
    const sourceIds = [...new Set(context.body.sourceIds)];
    if (sourceIds.includes(context.params.id)) throw badField("sourceIds", "INVALID_FORMAT", "cannot hold the customer itself");
    const survivor = await requireVersion(context, tx, customer, await customers.find(tx, context.params.id, visibility(context)));
    const sources = await Promise.all(sourceIds.map((id) => customers.find(tx, id, visibility(context))));
    const found = sources.filter((source) => source !== undefined);
    if (found.length < sourceIds.length) throw notFound("One of the customers to merge");
    const next = merged(survivor, found, context.now);
    const moved = await moveChildren(context, tx, children, found);
    return {
      changes: [
        customers.update(tx, next, survivor.version),
        ...found.map((source) => customers.remove(tx, source.customerId, source.version, context.now, survivor.customerId)),
      ],
      audit: [
        audited("merge", customer, survivor, next),
        ...found.map((source) => ({
          ...audited("merge", customer, source, { ...source, version: source.version + 1 }),
          changes: [{ field: "mergedInto", before: null, after: survivor.customerId }],
        })),
        ...moved,
      ],
      body: next,
    };
  });
}

/** Moves all records of the sources in sequence, so that each move sees the previous one's result. */
async function moveChildren(
  context: RequestContextOf<typeof mergeCustomers>,
  tx: TenantTx,
  children: readonly ReassignOnMerge[],
  sources: readonly Customer[],
): Promise<AuditDraft[]> {
  await tx.begin();
  const by = { now: context.now, actorId: context.caller.userId, requestId: context.requestId };
  const moved: AuditDraft[] = [];
  for (const { customerId } of sources) {
    await customers.lock(tx, customerId);
    for (const move of children) moved.push(...(await move(tx, { from: customerId, to: context.params.id, ...by })));
  }
  return moved;
}

function actorOf({ caller }: Pick<RequestContext, "caller">) {
  return { userId: caller.userId, ownOnly: caller.scope === "own" };
}

function nameConflict(context: RequestContext, name: string) {
  return {
    customers_name_key: async () =>
      new Problem("DUPLICATE_NAME", "A customer with this name exists", {
        details: { existingId: await namedId(context, ownedBy, await customers.idOfName(context.tenant.reader(), name)) },
      }),
  };
}

/** 404 that names the survivor if the customer was merged into another. */
async function goneProblem(context: RequestContext<{ id: string }>, tenant: TenantDb): Promise<Problem> {
  const any = await customers.findAny(tenant, context.params.id, visibility(context));
  return notFound("Customer", any?.mergedInto ? await survivorOf(context, any) : undefined);
}

async function survivorOf(context: RequestContext, { mergedInto }: { mergedInto: string | null }) {
  return { mergedInto: await namedId(context, ownedBy, mergedInto) };
}
