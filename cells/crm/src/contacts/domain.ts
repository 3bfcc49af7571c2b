import type { Contact } from "./schema.ts";

const blank = { title: null, phone: null, email: null, isPrimary: false, notes: null };

/** A new contact from a caller's input. */
export function newContact(
  input: Pick<Contact, "customerId" | "name"> & Partial<Contact>,
  { contactId, now }: { contactId: string; now: string },
): Contact {
  return { ...blank, ...input, contactId, createdAt: now, updatedAt: now, version: 1 };
}
