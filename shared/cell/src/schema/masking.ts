import type { Permission, Principal } from "@cell/http";
import { badFields, type FieldProblem, Problem } from "@cell/problem";
import { z } from "zod";

/** The kind of a sensitive field; each has its mask and its permission. */
export type SensitiveKind = "phone" | "email" | "amount";

/** The sensitive kinds by schema. Values of a registered schema are masked in every response unless the caller may read them. */
export const sensitiveFields = z.registry<{ kind: SensitiveKind; isMoney?: boolean }>();

/**
 * Declares a schema sensitive, for responses and for the document (`x-sensitive`). `isMoney`: responses give it with the decimals of its
 * currency.
 */
export function sensitive<S extends z.ZodType>(kind: SensitiveKind, schema: S, { isMoney = false } = {}): S {
  const declared = schema.meta({ ...schema.meta(), "x-sensitive": kind }) as S;
  sensitiveFields.add(declared, isMoney ? { kind, isMoney } : { kind });
  return declared;
}

const amountMask = "****";

/**
 * A figure derived from an amount that is not an amount itself, such as a ratio or a flag: it is as sensitive as the amount, because it
 * would reveal it. Its masked form is a text, whatever its own type.
 */
export function amountFigure<S extends z.ZodType>(figure: S): z.ZodType<z.output<S>> {
  const { description = "", ...meta } = figure.meta() ?? {};
  const documented = { ...meta, description: `${description}${description && ". "}\`${amountMask}\` when masked` };
  return sensitive("amount", z.union([figure, z.literal(amountMask)]).meta(documented)) as z.ZodType<z.output<S>>;
}

/** The permission to read a kind unmasked, in the detail response. */
export const readPermission: Record<SensitiveKind, Permission> = { phone: "pii:read", email: "pii:read", amount: "amount:read" };

/** The kind of response: one record on its own, or a list, an export, the response of a write. */
export type ResponseKind = "detail" | "list";

/** The kinds and fields that a response shows unmasked. */
export interface FieldAccess {
  readonly clear: ReadonlySet<SensitiveKind>;
  /** Fields unmasked by `?reveal=`. */
  readonly revealed: ReadonlySet<string>;
}

const nothing: ReadonlySet<string> = new Set();
const masked: FieldAccess = { clear: new Set(), revealed: nothing };
const detailAccess = new WeakMap<Principal, FieldAccess>();

/** What a caller may read: in lists nothing sensitive, in the detail response by its permissions. */
export function fieldAccess(principal: Principal, responseKind: ResponseKind, revealed: ReadonlySet<string> = nothing): FieldAccess {
  if (responseKind === "list") return revealed.size === 0 ? masked : { clear: masked.clear, revealed };
  let known = detailAccess.get(principal);
  if (!known) {
    const kinds = Object.keys(readPermission) as SensitiveKind[];
    known = { clear: new Set(kinds.filter((kind) => principal.permissions.includes(readPermission[kind]))), revealed: nothing };
    detailAccess.set(principal, known);
  }
  return known;
}

/** Whether a sensitive field is masked under a field access. */
export function isMasked({ clear, revealed }: FieldAccess, field: string, kind: SensitiveKind): boolean {
  return !clear.has(kind) && !revealed.has(field);
}

/** The kinds that a caller may ever read; the others are always masked. */
export function readableKinds(principal: Principal): ReadonlySet<SensitiveKind> {
  return fieldAccess(principal, "detail").clear;
}

/**
 * The fields of a patch with values that its author may not read. What the author can see must not depend on whether the record already has
 * these values: such a patch is always recorded as a change. Empty values are left out, since `isNull` filters are allowed.
 */
export function hiddenFields(
  kinds: Readonly<Record<string, SensitiveKind>>,
  values: object,
  readable: ReadonlySet<SensitiveKind>,
): string[] {
  return Object.entries(kinds).flatMap(([field, kind]) => {
    const value = (values as Record<string, unknown>)[field];
    return readable.has(kind) || value === undefined || value === null || value === "" ? [] : field;
  });
}

/** ITU-T E.164 country codes: one digit, two, or else three. */
const countryCode = /^\+(?:1|7|2[07]|3[0-469]|4[013-9]|5[1-8]|6[0-6]|8[1246]|9[0-58]|\d{3})/;

function maskPhone(phone: string): string {
  const compact = /^\+?\d*$/.test(phone) ? phone : phone.replace(/[^+\d]/g, "");
  const prefix = countryCode.exec(compact)?.[0] ?? "";
  const digits = compact.slice(prefix.length).replaceAll("+", "");
  if (digits.length >= 11) return `${prefix}${digits.slice(0, 3)}****${digits.slice(-4)}`;
  if (digits.length === 10) return `${prefix}****${digits.slice(-4)}`;
  if (digits.length >= 8) return `${prefix}${digits.slice(0, 2)}****${digits.slice(-2)}`;
  return "****";
}

function maskEmail(email: string): string {
  const at = email.lastIndexOf("@");
  if (at < 0) return "***";
  // The first character by code point: half a surrogate pair is not a character.
  const [first = ""] = email;
  return at <= 2 ? `***${email.slice(at)}` : `${first}***${email.slice(at)}`;
}

/** The masked form of a value; null and "" stay. */
export function mask(kind: SensitiveKind, value: unknown): unknown {
  if (value === null || value === undefined || value === "") return value;
  switch (kind) {
    case "phone":
      return maskPhone(String(value));
    case "email":
      return maskEmail(String(value));
    case "amount":
      return amountMask;
  }
}

/** The kind of personal data that a text looks like; undefined for other texts. */
export function looksPersonal(text: string): SensitiveKind | undefined {
  if (/^[^\s@]+@[^\s@]+$/.test(text.trim())) return "email";
  return /^\+?[\d\s().\-/]+$/.test(text.trim()) && text.replace(/\D/g, "").length >= 7 ? "phone" : undefined;
}

/** 403 for a query whose result would reveal a field that the caller may not read. */
export function maskedField(field: string): Problem {
  return new Problem("FIELD_MASKED", `${field} is masked for you: it can be filtered by isNull alone, and not sorted by`, {
    details: { field },
  });
}

/** Whether a value that a caller sent looks like a masked one. */
export function isMaskedInput(value: unknown): boolean {
  return typeof value === "string" && value.includes("**");
}

/**
 * The fields of a patch without those sent back masked, which mean "unchanged". Throws BAD_REQUEST for a masked value that is not the
 * record's.
 */
export function withoutMasked<Patch extends object>(
  kinds: Readonly<Record<string, SensitiveKind>>,
  current: object | undefined,
  patch: Patch,
): Patch {
  const result = { ...patch } as Record<string, unknown>;
  const wrong: FieldProblem[] = [];
  for (const [field, kind] of Object.entries(kinds)) {
    const value = result[field];
    if (!isMaskedInput(value)) continue;
    if (current && value === mask(kind, (current as Record<string, unknown>)[field])) delete result[field];
    else
      wrong.push({ path: field, code: "MASKED_VALUE", message: "is a masked value: send the real one, or leave the field out to keep it" });
  }
  if (wrong.length > 0) throw badFields(wrong);
  return result as Patch;
}
