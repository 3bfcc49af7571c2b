import { blankContact, type Contact } from "./schema.ts";

/** A new contact from a caller's input. */
export function newContact(
  input: Pick<Contact, "customerId" | "name"> & Partial<Contact>,
  { contactId, now }: { contactId: string; now: string },
): Contact {
  return { ...blankContact, ...input, contactId, createdAt: now, updatedAt: now, version: 1 };
}
