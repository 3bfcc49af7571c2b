import {
  type AuditDraft,
  type Cell,
  conventionsOf,
  endpoint,
  folded,
  mask,
  type RecordVisibility,
  type RequestContext,
  visibility,
} from "@cell/cell";
import { Problem } from "@cell/problem";
import { v7 as uuidv7 } from "uuid";
import * as contacts from "../contacts/repository.ts";
import { ownedBy as customersOwnedBy } from "../customers/imports/bulk-write.ts";
import { phoneForms } from "../phone-number.ts";
import { readableIds } from "../visibility.ts";
import * as lookups from "./repository.ts";
import { type LookupMatch, lookup, lookupInput, lookupResponse } from "./schema.ts";

const { lookups: mostLookups, windowSeconds } = lookups.lookupLimits;

/** A lookup is identified by the records that it found: its response is replayed while the caller may read all of them. */
const readableBy: RecordVisibility = {
  title: "Lookup",
  async covers(context, found) {
    const ids = (type: string) => found.split(",").flatMap((one) => (one.startsWith(`${type}:`) ? one.slice(type.length + 1) : []));
    const [customerIds, contactIds] = [ids("customer"), ids("contact")];
    const [ofCustomers, ofContacts] = await Promise.all([
      readableIds(context, customersOwnedBy, customerIds),
      readableIds(context, contacts.ownedBy, contactIds),
    ]);
    return customerIds.every((id) => ofCustomers.has(id)) && contactIds.every((id) => ofContacts.has(id));
  },
};

const lookUp = endpoint({
  method: "post",
  path: "/lookup",
  operationId: "lookup.find",
  permission: "pii:match",
  tag: "Customers",
  summary: "Find records by a phone number or an e-mail address",
  description: `Compares every form in which the number or address may be written, and returns at most ${lookups.lookupLimits.matches} records that the caller may see.
It replaces filters for callers without pii:read. Each user has ${mostLookups} lookups per ${windowSeconds} s, then 429; lookups of a key that acts for others count for the key's own user. Each lookup is in the audit trail, with its value masked.`,
  body: lookupInput,
  status: 200,
  response: lookupResponse,
  example: { body: { phone: "13800138000" } },
  visibility: readableBy,
});

/** Route of lookups by phone number or e-mail address. */
export function lookupRoutes(cell: Cell): void {
  cell.command(lookUp, async (context, tx) => {
    const { userId, tokenUserId = userId, permissions } = context.caller;
    if (!permissions.includes("crm:read")) throw new Problem("FORBIDDEN", "This needs the permission crm:read");
    const wait = await lookups.secondsToWait(tx, tokenUserId);
    if (wait > 0) throw tooMany(wait);
    const { phone, email } = context.body;
    const found =
      phone === undefined
        ? await lookups.find(tx, "email", await folded(tx, [email ?? ""]), visibility(context))
        : await lookups.find(tx, "phone", await phoneForms(phone, (await conventionsOf(context.tenant)).region), visibility(context));
    return {
      changes: [lookups.countOne(tx, tokenUserId)],
      audit: [draftOf(context, found)],
      body: { data: found },
      resourceId: found.map(({ resourceType, resourceId }) => `${resourceType}:${resourceId}`).join(","),
    };
  });
}

function draftOf(
  { body: { phone, email } }: RequestContext<unknown, unknown, { phone?: string; email?: string }>,
  found: LookupMatch[],
): AuditDraft {
  const asked = phone === undefined ? { field: "email", after: mask("email", email) } : { field: "phone", after: mask("phone", phone) };
  const changes = [
    { ...asked, before: null },
    { field: "matches", before: null, after: found.length },
  ];
  return { action: "lookup", resourceType: lookup.type, resourceId: uuidv7(), resourceName: null, resourceVersion: null, changes };
}

function tooMany(seconds: number): Problem {
  return new Problem("RATE_LIMITED", `A user may look up ${mostLookups} times in ${windowSeconds} s; try again in ${seconds} s`, {
    headers: { "retry-after": String(seconds) },
  });
}
