import {
  applyPatch,
  audited,
  type Cell,
  endpoint,
  equals,
  hiddenFields,
  id,
  idParams,
  listOf,
  listQuery,
  listResponse,
  type RequestContext,
  type RequestContextOf,
  readableKinds,
  requireVersion,
  settingsOf,
  type Visibility,
  visibility,
  withoutMasked,
  yearOf,
} from "@cell/cell";
import type { TenantDb, TenantTx } from "@cell/postgres";
import { badField, notFound, Problem, unavailable } from "@cell/problem";
import { v7 as uuidv7 } from "uuid";
import { z } from "zod";
import * as customers from "../customers/repository.ts";
import * as opportunities from "../opportunities/repository.ts";
import { effective } from "../settings/domain.ts";
import { presentTotals, totalsResponse } from "../totals.ts";
import { namedId, recordVisibility } from "../visibility.ts";
import { checkChange, checkOverpaid, datedIn, generatedNumber, newContract, settledContract, written } from "./domain.ts";
import * as contracts from "./repository.ts";
import { type Contract, contract, contractDeleted, contractInput, contractPatch, contractStatuses, contractTotal } from "./schema.ts";

const tag = "Contracts";
const readableBy = recordVisibility(contract, contracts.ownedBy);

const listContracts = endpoint({
  method: "get",
  path: "/contracts",
  permission: "crm:read",
  tag,
  summary: "List contracts, with totals",
  query: listQuery.extend({
    customerId: id().optional().meta({ description: "Only contracts of this customer" }),
    opportunityId: id().optional().meta({ description: "Only contracts from this opportunity" }),
    status: z.enum(contractStatuses).optional().meta({ description: "Only contracts in this status" }),
  }),
  status: 200,
  response: listOf(contract, listResponse(contract, { totals: totalsResponse(contractTotal) })),
});

const createContract = endpoint({
  method: "post",
  path: "/contracts",
  permission: "crm:write",
  tag,
  summary: "Create a contract",
  description: "Idempotent by X-Request-ID. The number of another live contract is a 409 CONFLICT with `details.existingId`.",
  body: contractInput,
  status: 201,
  response: contract,
  versioned: true,
  errorResponses: [404],
  visibility: readableBy,
});

const getContract = endpoint({
  method: "get",
  path: "/contracts/{id}",
  permission: "crm:read",
  tag,
  summary: "Read a contract",
  params: idParams,
  status: 200,
  response: contract,
  versioned: true,
});

const changeContract = endpoint({
  method: "patch",
  path: "/contracts/{id}",
  permission: "crm:write",
  tag,
  summary: "Change a contract",
  description:
    "An illegal change of status is a 409 CONFLICT that lists the legal ones. So is another currency after the first payment, and an amount below what was received if the tenant's `payments.overpay` is reject. A value of a field that the caller may not read always counts as a change.",
  params: idParams,
  body: contractPatch,
  example: { body: { status: "completed" }, response: { status: "completed" } },
  status: 200,
  response: contract,
  versioned: true,
  visibility: readableBy,
});

const deleteContract = endpoint({
  method: "delete",
  path: "/contracts/{id}",
  permission: "crm:write",
  tag,
  summary: "Delete a contract without payments",
  description: "A contract with payments is a 409 CONFLICT: set its status to void instead.",
  params: idParams,
  status: 200,
  response: contractDeleted,
  versioned: true,
  visibility: readableBy,
});

/** Routes of contracts. */
export function contractRoutes(cell: Cell): void {
  cell.list(listContracts, contracts.lists, {
    conditions: ({ query: { customerId, opportunityId, status } }) =>
      Object.entries({ customerId, opportunityId, status }).flatMap(([field, value]) =>
        value === undefined ? [] : [equals(field, value)],
      ),
    extra: async (context, _, request) => presentTotals(contractTotal, await contracts.totals(context.tenant.reader(), request), context),
  });

  cell.command(createContract, create);

  cell.read(getContract, "Contract", (context, tenant) => contracts.findRow(tenant, context.params.id, visibility(context)));

  cell.command(changeContract, change);

  cell.command(deleteContract, async (context, tx) => {
    const current = await lockedForChange(context, tx);
    if (await contracts.hasPayments(tx, current.contractId))
      throw new Problem("CONFLICT", "A contract with payments cannot be deleted; it can be made void");
    return {
      changes: [contracts.remove(tx, current.contractId, current.version, context.now)],
      audit: [audited("delete", contract, current, { ...current, version: current.version + 1 })],
      body: { contractId: current.contractId, deleted: true as const },
    };
  });
}

async function create(context: RequestContextOf<typeof createContract>, tx: TenantTx) {
  const input = withoutMasked(contract.sensitive, undefined, context.body);
  const { currency, timezone } = effective(await settingsOf(context.tenant));
  const owner = visibility(context);
  if (!(await customers.find(tx, input.customerId, owner))) throw notFound("Customer", { field: "customerId" });
  if (input.opportunityId) await checkOpportunity(tx, input.opportunityId, input.customerId, owner);
  const number = input.number ?? (await freeNumber(tx, yearOf(context.now, timezone)));
  const made = newContract(input, {
    contractId: uuidv7(),
    number,
    currency: input.currency ?? currency,
    timezone,
    now: context.now,
  });
  return {
    changes: [contracts.insert(tx, written(made))] as const,
    audit: [audited("create", contract, {}, written(made))] as const,
    body: made,
    conflicts: input.number === undefined ? generatedConflict : numberConflict(context, number),
  };
}

async function change(context: RequestContextOf<typeof changeContract>, tx: TenantTx) {
  const { timezone, payments: policy } = effective(await settingsOf(context.tenant));
  const current = await lockedForChange(context, tx);
  const patch = datedIn(timezone, withoutMasked(contract.sensitive, current, context.body));
  const hidden = hiddenFields(contract.sensitive, patch, readableKinds(context.caller));
  const next = applyPatch<Contract>(current, patch, context.now, hidden);
  if (next === current) return { changes: [] as const, audit: [] as const, body: current, resourceId: current.contractId };
  checkChange(current, next);
  checkOverpaid(current, next, policy.overpay);
  if (next.opportunityId && next.opportunityId !== current.opportunityId)
    await checkOpportunity(tx, next.opportunityId, current.customerId, visibility(context));
  if (next.currency !== current.currency && (await contracts.hasPayments(tx, current.contractId)))
    throw new Problem("CONFLICT", "The currency of a contract with payments cannot be changed", { details: { field: "currency" } });
  return {
    changes: [contracts.update(tx, written(next), current.version)] as const,
    audit: [audited("update", contract, written(current), written(next), hidden)] as const,
    body: settledContract(next),
    conflicts: numberConflict(context, next.number),
  };
}

/** The contract of the path, locked: each payment changes its version, and an update must not lose against a stream of payments. */
async function lockedForChange(context: RequestContext<{ id: string }>, tx: TenantTx): Promise<Contract> {
  await tx.begin();
  return requireVersion(context, tx, contract, await contracts.findLocked(tx, context.params.id, visibility(context)));
}

/** Throws NOT_FOUND for an opportunity that the caller may not see, BAD_REQUEST for another customer's. */
async function checkOpportunity(tenant: TenantDb, opportunityId: string, customerId: string, owner: Visibility): Promise<void> {
  const opportunity = await opportunities.find(tenant, opportunityId, owner);
  if (!opportunity) throw notFound("Opportunity", { field: "opportunityId" });
  if (opportunity.customerId !== customerId) throw badField("opportunityId", "INVALID_FORMAT", "is an opportunity of another customer");
}

/** A generated number that no live contract has: people may have entered one of the same form. */
async function freeNumber(tx: TenantTx, year: number): Promise<string> {
  for (;;) {
    const number = generatedNumber(year, await contracts.nextNumber(tx));
    if ((await contracts.idOfNumber(tx, number)) === undefined) return number;
  }
}

function numberConflict(context: RequestContext, number: string) {
  return {
    contracts_number_key: async () =>
      new Problem("CONFLICT", "A contract with this number exists", {
        details: {
          field: "number",
          existingId: await namedId(context, contracts.ownedBy, await contracts.idOfNumber(context.tenant.reader(), number)),
        },
      }),
  };
}

const generatedConflict = {
  contracts_number_key: async () => unavailable("The generated number has just been taken by another contract; try again"),
};
