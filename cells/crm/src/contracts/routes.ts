import {
  audited,
  type Call,
  type CallOf,
  type Cell,
  changed,
  checked,
  endpoint,
  equals,
  id,
  idParams,
  listAnswer,
  listOf,
  listQuery,
  settingsOf,
  withoutMasked,
} from "@cell/cell";
import type { TenantDb, TenantTx } from "@cell/postgres";
import { badField, notFound, Problem, unavailable } from "@cell/problem";
import { v7 as uuidv7 } from "uuid";
import { z } from "zod";
import { yearOf } from "../calendar.ts";
import * as customers from "../customers/repository.ts";
import * as opportunities from "../opportunities/repository.ts";
import { effective } from "../settings/domain.ts";
import { presentTotals, totalsAnswer } from "../totals.ts";
import { namedId, sightOf, type Visibility, visibility } from "../visibility.ts";
import { checkChange, checkOverpaid, datedIn, generatedNumber, newContract, settled, written } from "./domain.ts";
import * as contracts from "./repository.ts";
import { type Contract, contract, contractDeleted, contractInput, contractPatch, contractStatuses, contractTotal } from "./schema.ts";

const tag = "Contracts";
const sight = sightOf(contract, contracts.ownedBy);

const listContracts = endpoint({
  method: "get",
  path: "/contracts",
  permission: "crm:read",
  tag,
  summary: "List contracts, with what they come to",
  query: listQuery.extend({
    customerId: id().optional().meta({ description: "Only this customer's" }),
    opportunityId: id().optional().meta({ description: "Only those that came out of this opportunity" }),
    status: z.enum(contractStatuses).optional().meta({ description: "Only those of this status" }),
  }),
  status: 200,
  answer: listOf(contract, listAnswer(contract, { totals: totalsAnswer(contractTotal) })),
});

const createContract = endpoint({
  method: "post",
  path: "/contracts",
  permission: "crm:write",
  tag,
  summary: "Create a contract",
  description: "Idempotent by X-Request-ID. A number that a live contract has is 409 CONFLICT with `details.existingId`.",
  body: contractInput,
  status: 201,
  answer: contract,
  versioned: true,
  refusals: [404],
  sight,
});

const getContract = endpoint({
  method: "get",
  path: "/contracts/{id}",
  permission: "crm:read",
  tag,
  summary: "Read a contract",
  params: idParams,
  status: 200,
  answer: contract,
  versioned: true,
});

const changeContract = endpoint({
  method: "patch",
  path: "/contracts/{id}",
  permission: "crm:write",
  tag,
  summary: "Change a contract",
  description:
    "An illegal move of the status is 409 CONFLICT naming the legal ones. So is another currency once there are payments, and an amount below what was received where the tenant's `payments.overpay` is reject.",
  params: idParams,
  body: contractPatch,
  example: { body: { status: "completed" }, answer: { status: "completed" } },
  status: 200,
  answer: contract,
  versioned: true,
  sight,
});

const deleteContract = endpoint({
  method: "delete",
  path: "/contracts/{id}",
  permission: "crm:write",
  tag,
  summary: "Delete a contract without payments",
  description: "One with payments is 409 CONFLICT: it can be made void.",
  params: idParams,
  status: 200,
  answer: contractDeleted,
  versioned: true,
  sight,
});

/** The contracts' routes. */
export function contractRoutes(cell: Cell): void {
  cell.list(listContracts, contracts.lists, {
    conditions: ({ query: { customerId, opportunityId, status } }) =>
      Object.entries({ customerId, opportunityId, status }).flatMap(([field, value]) =>
        value === undefined ? [] : [equals(field, value)],
      ),
    extra: async (call, _, request) => presentTotals(contractTotal, await contracts.totals(call.tenant.reader(), request), call),
  });

  cell.command(createContract, create);

  cell.read(getContract, "Contract", (call, tenant) => contracts.findRow(tenant, call.params.id, visibility(call)));

  cell.command(changeContract, change);

  cell.command(deleteContract, async (call, tx) => {
    const current = await lockedForChange(call, tx);
    if (await contracts.hasPayments(tx, current.contractId))
      throw new Problem("CONFLICT", "A contract with payments cannot be deleted; it can be made void");
    return {
      changes: [contracts.remove(tx, current.contractId, current.version, call.now)],
      audit: [audited("delete", contract, current, { ...current, version: current.version + 1 })],
      body: { contractId: current.contractId, deleted: true as const },
    };
  });
}

async function create(call: CallOf<typeof createContract>, tx: TenantTx) {
  const input = withoutMasked(contract.sensitive, undefined, call.body);
  const { currency, timezone } = effective(await settingsOf(call.tenant));
  const owner = visibility(call);
  if (!(await customers.find(tx, input.customerId, owner))) throw notFound("Customer", { field: "customerId" });
  if (input.opportunityId) await checkOpportunity(tx, input.opportunityId, input.customerId, owner);
  const number = input.number ?? (await freeNumber(tx, yearOf(call.now, timezone)));
  const made = newContract(input, {
    contractId: uuidv7(),
    number,
    currency: input.currency ?? currency,
    timezone,
    now: call.now,
  });
  return {
    changes: [contracts.insert(tx, written(made))] as const,
    audit: [audited("create", contract, {}, written(made))] as const,
    body: made,
    conflicts: input.number === undefined ? generatedConflict : numberConflict(call, number),
  };
}

async function change(call: CallOf<typeof changeContract>, tx: TenantTx) {
  const { timezone, payments: policy } = effective(await settingsOf(call.tenant));
  const current = await lockedForChange(call, tx);
  const patch = datedIn(timezone, withoutMasked(contract.sensitive, current, call.body));
  const next = changed<Contract>(current, patch, call.now);
  if (next === current) return { changes: [] as const, audit: [] as const, body: current, resourceId: current.contractId };
  checkChange(current, next);
  checkOverpaid(current, next, policy.overpay);
  if (next.opportunityId && next.opportunityId !== current.opportunityId)
    await checkOpportunity(tx, next.opportunityId, current.customerId, visibility(call));
  if (next.currency !== current.currency && (await contracts.hasPayments(tx, current.contractId)))
    throw new Problem("CONFLICT", "The currency of a contract with payments cannot be changed", { details: { field: "currency" } });
  return {
    changes: [contracts.update(tx, written(next), current.version)] as const,
    audit: [audited("update", contract, written(current), written(next))] as const,
    body: settled(next),
    conflicts: numberConflict(call, next.number),
  };
}

/** The contract of the path, locked: each payment counts its version up, and a change must not lose to a stream of them. */
async function lockedForChange(call: Call<{ id: string }>, tx: TenantTx): Promise<Contract> {
  await tx.begin();
  return checked(call, tx, contract, await contracts.findLocked(tx, call.params.id, visibility(call)));
}

/** Throws NOT_FOUND for an opportunity that the caller does not see, BAD_REQUEST for another customer's. */
async function checkOpportunity(tenant: TenantDb, opportunityId: string, customerId: string, owner: Visibility): Promise<void> {
  const opportunity = await opportunities.find(tenant, opportunityId, owner);
  if (!opportunity) throw notFound("Opportunity", { field: "opportunityId" });
  if (opportunity.customerId !== customerId) throw badField("opportunityId", "INVALID_FORMAT", "is an opportunity of another customer");
}

/** A number that no live contract has: people may have given one of the same form. */
async function freeNumber(tx: TenantTx, year: number): Promise<string> {
  for (;;) {
    const number = generatedNumber(year, await contracts.nextNumber(tx));
    if ((await contracts.idOfNumber(tx, number)) === undefined) return number;
  }
}

function numberConflict(call: Call, number: string) {
  return {
    contracts_number_key: async () =>
      new Problem("CONFLICT", "A contract with this number exists", {
        details: {
          field: "number",
          existingId: await namedId(call, contracts.ownedBy, await contracts.idOfNumber(call.tenant.reader(), number)),
        },
      }),
  };
}

const generatedConflict = {
  contracts_number_key: async () => unavailable("Someone has just given the number that was to be generated; try again"),
};
