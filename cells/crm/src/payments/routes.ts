import {
  audited,
  type Call,
  type CallOf,
  type Cell,
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
import type { TenantTx } from "@cell/postgres";
import { notFound, Problem } from "@cell/problem";
import { v7 as uuidv7 } from "uuid";
import { z } from "zod";
import * as contracts from "../contracts/repository.ts";
import { effective } from "../settings/domain.ts";
import { presentTotals, totalsAnswer } from "../totals.ts";
import { namedId, sightOf, visibility } from "../visibility.ts";
import { newPayment, paidAtOf, voided } from "./domain.ts";
import * as payments from "./repository.ts";
import { type Payment, payment, paymentInput, paymentKinds, paymentStatuses, paymentTotal, paymentVoid } from "./schema.ts";

const tag = "Payments";
const sight = sightOf(payment, payments.ownedBy);

const listPayments = endpoint({
  method: "get",
  path: "/payments",
  permission: "crm:read",
  tag,
  summary: "List payments, with what they come to",
  query: listQuery.extend({
    customerId: id().optional().meta({ description: "Only this customer's" }),
    contractId: id().optional().meta({ description: "Only those on this contract" }),
    status: z.enum(paymentStatuses).optional().meta({ description: "Only those of this status" }),
    kind: z.enum(paymentKinds).optional().meta({ description: "Only payments, or only refunds" }),
  }),
  status: 200,
  answer: listOf(payment, listAnswer(payment, { totals: totalsAnswer(paymentTotal) })),
});

const registerPayment = endpoint({
  method: "post",
  path: "/payments",
  permission: "crm:write",
  tag,
  summary: "Register a payment or a refund",
  description:
    "More than the contract's amount is flagged `overpaid`, or 409 CONFLICT where the tenant's `payments.overpay` is reject. So are a draft or void contract, a refund of more than was received, and a reference that the contract has, with `details.existingId`.",
  body: paymentInput,
  status: 201,
  answer: payment,
  versioned: true,
  refusals: [404],
  turn: "contractId",
  sight,
});

const getPayment = endpoint({
  method: "get",
  path: "/payments/{id}",
  permission: "crm:read",
  tag,
  summary: "Read a payment",
  params: idParams,
  status: 200,
  answer: payment,
  versioned: true,
});

const voidPayment = endpoint({
  method: "post",
  path: "/payments/{id}/void",
  permission: "crm:write",
  tag,
  summary: "Make a payment void",
  description: "It stays, and no longer counts. A payment is not edited: void it and register it again. One that is void stays as it is.",
  params: idParams,
  body: paymentVoid,
  bodyOptional: true,
  status: 200,
  answer: payment,
  versioned: true,
  sight,
});

/** The payments' routes. */
export function paymentRoutes(cell: Cell): void {
  cell.list(listPayments, payments.lists, {
    conditions: ({ query: { customerId, contractId, status, kind } }) =>
      Object.entries({ customerId, contractId, status, kind }).flatMap(([field, value]) =>
        value === undefined ? [] : [equals(field, value)],
      ),
    extra: async (call, _, request) => presentTotals(paymentTotal, await payments.totals(call.tenant.reader(), request), call),
  });

  cell.command(registerPayment, register);

  cell.read(getPayment, "Payment", (call, tenant) => payments.findRow(tenant, call.params.id, visibility(call)));

  cell.command(voidPayment, async (call, tx) => {
    const { overpay } = effective(await settingsOf(call.tenant)).payments;
    const { contractId } = await checked(call, tx, payment, await payments.find(tx, call.params.id, visibility(call)));
    await tx.begin();
    const contract = await lockedContract(call, tx, contractId);
    const current = await checked(call, tx, payment, await payments.find(tx, call.params.id, visibility(call)));
    if (current.status === "void") return { changes: [], audit: [], body: current, resourceId: current.paymentId };
    const { payment: next, receivedAmount } = voided(current, contract, { reason: call.body.reason || null, now: call.now, overpay });
    return {
      changes: [payments.makeVoid(tx, next), contracts.receive(tx, contractId, receivedAmount, call.now)],
      audit: [audited("void", payment, current, next)],
      body: next,
    };
  });
}

async function register(call: CallOf<typeof registerPayment>, tx: TenantTx) {
  const input = withoutMasked(payment.sensitive, undefined, call.body);
  const { timezone, payments: policy } = effective(await settingsOf(call.tenant));
  const paidAt = paidAtOf(input.paidAt, timezone, call.now);
  await tx.begin();
  const contract = await lockedContract(call, tx, input.contractId);
  const identity = { paymentId: uuidv7(), paidAt, now: call.now, overpay: policy.overpay };
  const { payment: made, receivedAmount } = newPayment(input, contract, identity);
  return {
    changes: [payments.insert(tx, made), contracts.receive(tx, made.contractId, receivedAmount, call.now)] as const,
    audit: [audited("create", payment, {}, made)] as const,
    body: made,
    conflicts: referenceConflict(call, made),
  };
}

/** The contract of a payment, locked, with what its payments come to now. Throws NOT_FOUND. */
async function lockedContract(call: Call, tx: TenantTx, contractId: string) {
  const contract = await contracts.findLocked(tx, contractId, visibility(call));
  if (!contract) throw notFound("Contract", { field: "contractId" });
  return { ...contract, receivedAmount: await contracts.received(tx, contract.contractId) };
}

function referenceConflict(call: Call, { contractId, reference }: Payment) {
  const holder = () => (reference === null ? undefined : payments.idOfReference(call.tenant.reader(), contractId, reference));
  return {
    payments_reference_key: async () =>
      new Problem("CONFLICT", "A payment with this reference is registered on the contract", {
        details: { field: "reference", existingId: await namedId(call, payments.ownedBy, await holder()) },
      }),
  };
}
