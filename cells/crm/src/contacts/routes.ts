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
  readableKinds,
  requireVersion,
  visibility,
  withoutMasked,
} from "@cell/cell";
import { notFound, Problem } from "@cell/problem";
import { v7 as uuidv7 } from "uuid";
import * as customers from "../customers/repository.ts";
import { recordVisibility } from "../visibility.ts";
import { newContact } from "./domain.ts";
import * as contacts from "./repository.ts";
import { type Contact, contact, contactDeleted, contactInput, contactPatch } from "./schema.ts";

const tag = "Contacts";
const readableBy = recordVisibility(contact, contacts.ownedBy);

const listContacts = endpoint({
  method: "get",
  path: "/contacts",
  permission: "crm:read",
  tag,
  summary: "List contacts",
  query: listQuery.extend({ customerId: id().optional().meta({ description: "Only contacts of this customer" }) }),
  status: 200,
  response: listOf(contact, listResponse(contact)),
});

const createContact = endpoint({
  method: "post",
  path: "/contacts",
  permission: "crm:write",
  tag,
  summary: "Create a contact",
  body: contactInput,
  status: 201,
  response: contact,
  versioned: true,
  errorResponses: [404],
  visibility: readableBy,
});

const getContact = endpoint({
  method: "get",
  path: "/contacts/{id}",
  permission: "crm:read",
  tag,
  summary: "Read a contact",
  params: idParams,
  status: 200,
  response: contact,
  versioned: true,
});

const changeContact = endpoint({
  method: "patch",
  path: "/contacts/{id}",
  permission: "crm:write",
  tag,
  summary: "Change a contact",
  description: "A masked value sent back means unchanged. A value of a field that the caller may not read always counts as a change.",
  params: idParams,
  body: contactPatch,
  example: { body: { title: "采购总监" }, response: { title: "采购总监", version: 2 } },
  status: 200,
  response: contact,
  versioned: true,
  visibility: readableBy,
});

const deleteContact = endpoint({
  method: "delete",
  path: "/contacts/{id}",
  permission: "crm:write",
  tag,
  summary: "Delete a contact",
  params: idParams,
  status: 200,
  response: contactDeleted,
  versioned: true,
  visibility: readableBy,
});

const conflicts = {
  contacts_primary: async () => new Problem("CONFLICT", "Another contact has just become the primary one; try again"),
};

/** Routes of contacts. */
export function contactRoutes(cell: Cell): void {
  cell.list(listContacts, contacts.lists, {
    conditions: ({ query }) => (query.customerId === undefined ? [] : [equals("customerId", query.customerId)]),
  });

  cell.command(createContact, async (context, tx) => {
    const input = withoutMasked(contact.sensitive, undefined, context.body);
    if (!(await customers.find(tx, input.customerId, visibility(context)))) throw notFound("Customer", { field: "customerId" });
    const created = newContact(input, { contactId: uuidv7(), now: context.now });
    const demoted = created.isPrimary ? await demote(tx, created, context.now) : [];
    return {
      changes: [contacts.insert(tx, created)],
      audit: [audited("create", contact, {}, created), ...demoted],
      body: created,
      conflicts,
    };
  });

  cell.read(getContact, "Contact", (context, tenant) => contacts.findRow(tenant, context.params.id, visibility(context)));

  cell.command(changeContact, async (context, tx) => {
    const current = await requireVersion(context, tx, contact, await contacts.find(tx, context.params.id, visibility(context)));
    const patch = withoutMasked(contact.sensitive, current, context.body);
    const hidden = hiddenFields(contact.sensitive, patch, readableKinds(context.caller));
    const next = applyPatch(current, patch, context.now, hidden);
    if (next === current) return { changes: [], audit: [], body: current, resourceId: current.contactId };
    const demoted = next.isPrimary && !current.isPrimary ? await demote(tx, next, context.now) : [];
    return {
      changes: [contacts.update(tx, next, current.version)],
      audit: [audited("update", contact, current, next, hidden), ...demoted],
      body: next,
      conflicts,
    };
  });

  cell.command(deleteContact, async (context, tx) => {
    const current = await requireVersion(context, tx, contact, await contacts.find(tx, context.params.id, visibility(context)));
    return {
      changes: [contacts.remove(tx, current.contactId, current.version, context.now)],
      audit: [audited("delete", contact, current, { ...current, version: current.version + 1 })],
      body: { contactId: current.contactId, deleted: true as const },
    };
  });
}

/** Makes the others non-primary, with audit entries. */
async function demote(tx: Parameters<typeof contacts.endOthersPrimacy>[0], primary: Contact, now: string) {
  await tx.begin();
  const others = await contacts.endOthersPrimacy(tx, primary, now);
  return others.map((other) => audited("update", contact, { ...other, isPrimary: true }, other));
}
