import {
  audited,
  type Cell,
  endpoint,
  equals,
  id,
  idParams,
  listOf,
  listQuery,
  listResponse,
  type RequestContext,
  type RequestContextOf,
  requireVersion,
  settingsOf,
  visibility,
  withoutMasked,
} from "@cell/cell";
import type { TenantTx } from "@cell/postgres";
import { notFound, Problem } from "@cell/problem";
import { v7 as uuidv7 } from "uuid";
import { z } from "zod";
import * as contracts from "../contracts/repository.ts";
import { effective } from "../settings/domain.ts";
import { presentTotals, totalsResponse } from "../totals.ts";
import { namedId, recordVisibility } from "../visibility.ts";
import { newPayment, paidAtOf, voided } from "./domain.ts";
import * as payments from "./repository.ts";
import { type Payment, payment, paymentInput, paymentKinds, paymentStatuses, paymentTotal, paymentVoid } from "./schema.ts";

const tag = "Payments";
const readableBy = recordVisibility(payment, payments.ownedBy);

const listPayments = endpoint({
  method: "get",
  path: "/payments",
  permission: "crm:read",
  tag,
  summary: "List payments, with totals",
  query: listQuery.extend({
    customerId: id().optional().meta({ description: "Only payments of this customer" }),
    contractId: id().optional().meta({ description: "Only payments on this contract" }),
    status: z.enum(paymentStatuses).optional().meta({ description: "Only payments in this status" }),
    kind: z.enum(paymentKinds).optional().meta({ description: "Only payments, or only refunds" }),
  }),
  status: 200,
  response: listOf(payment, listResponse(payment, { totals: totalsResponse(paymentTotal) })),
});

const registerPayment = endpoint({
  method: "post",
  path: "/payments",
  permission: "crm:write",
  tag,
  summary: "Record a payment or a refund",
  description:
    "A payment beyond the contract's amount is flagged `overpaid`, or a 409 CONFLICT if the tenant's `payments.overpay` is reject. A draft or void contract, a refund of more than was received, and a duplicate reference on the contract (with `details.existingId`) are a 409 CONFLICT too.",
  body: paymentInput,
  status: 201,
  response: payment,
  versioned: true,
  errorResponses: [404],
  serialKey: "contractId",
  visibility: readableBy,
});

const getPayment = endpoint({
  method: "get",
  path: "/payments/{id}",
  permission: "crm:read",
  tag,
  summary: "Read a payment",
  params: idParams,
  status: 200,
  response: payment,
  versioned: true,
});

const voidPayment = endpoint({
  method: "post",
  path: "/payments/{id}/void",
  permission: "crm:write",
  tag,
  summary: "Void a payment",
  description:
    "The payment stays and no longer counts. Payments cannot be edited: void the payment and record it again. A void payment stays unchanged.",
  params: idParams,
  body: paymentVoid,
  bodyOptional: true,
  status: 200,
  response: payment,
  versioned: true,
  visibility: readableBy,
});

/** Routes of payments. */
export function paymentRoutes(cell: Cell): void {
  cell.list(listPayments, payments.lists, {
    conditions: ({ query: { customerId, contractId, status, kind } }) =>
      Object.entries({ customerId, contractId, status, kind }).flatMap(([field, value]) =>
        value === undefined ? [] : [equals(field, value)],
      ),
    extra: async (context, _, request) => presentTotals(paymentTotal, await payments.totals(context.tenant.reader(), request), context),
  });

  cell.command(registerPayment, register);

  cell.read(getPayment, "Payment", (context, tenant) => payments.findRow(tenant, context.params.id, visibility(context)));

  cell.command(voidPayment, async (context, tx) => {
    const { overpay } = effective(await settingsOf(context.tenant)).payments;
    const { contractId } = await requireVersion(context, tx, payment, await payments.find(tx, context.params.id, visibility(context)));
    await tx.begin();
    const contract = await lockedContract(context, tx, contractId);
    const current = await requireVersion(context, tx, payment, await payments.find(tx, context.params.id, visibility(context)));
    if (current.status === "void") return { changes: [], audit: [], body: current, resourceId: current.paymentId };
    const { payment: next, receivedAmount } = voided(current, contract, { reason: context.body.reason || null, now: context.now, overpay });
    return {
      changes: [payments.makeVoid(tx, next), contracts.receive(tx, contractId, receivedAmount, context.now)],
      audit: [audited("void", payment, current, next)],
      body: next,
    };
  });
}

async function register(context: RequestContextOf<typeof registerPayment>, tx: TenantTx) {
  const input = withoutMasked(payment.sensitive, undefined, context.body);
  const { timezone, payments: policy } = effective(await settingsOf(context.tenant));
  const paidAt = paidAtOf(input.paidAt, timezone, context.now);
  await tx.begin();
  const contract = await lockedContract(context, tx, input.contractId);
  const identity = { paymentId: uuidv7(), paidAt, now: context.now, overpay: policy.overpay };
  const { payment: made, receivedAmount } = newPayment(input, contract, identity);
  return {
    changes: [payments.insert(tx, made), contracts.receive(tx, made.contractId, receivedAmount, context.now)] as const,
    audit: [audited("create", payment, {}, made)] as const,
    body: made,
    conflicts: referenceConflict(context, made),
  };
}

/** The contract of a payment, locked, with its current received amount. Throws NOT_FOUND. */
async function lockedContract(context: RequestContext, tx: TenantTx, contractId: string) {
  const contract = await contracts.findLocked(tx, contractId, visibility(context));
  if (!contract) throw notFound("Contract", { field: "contractId" });
  return { ...contract, receivedAmount: await contracts.received(tx, contract.contractId) };
}

function referenceConflict(context: RequestContext, { contractId, reference }: Payment) {
  const holder = () => (reference === null ? undefined : payments.idOfReference(context.tenant.reader(), contractId, reference));
  return {
    payments_reference_key: async () =>
      new Problem("CONFLICT", "The contract already has a payment with this reference", {
        details: { field: "reference", existingId: await namedId(context, payments.ownedBy, await holder()) },
      }),
  };
}
