import { looksPersonal, mask, type SensitiveKind } from "../schema/masking.ts";
import type { ListFields } from "./field-types.ts";
import { conditionsIn, parseFilterText } from "./filter-syntax.ts";

/** The list's fields, and the kinds of its sensitive ones. */
interface FilteredFields {
  fields: ListFields;
  kinds: Readonly<Record<string, SensitiveKind>>;
}

/**
 * A filter as the audit trail stores it: values of sensitive fields are masked, and texts that look like a phone number or an e-mail
 * address.
 */
export function maskedFilter(filter: string, { fields, kinds }: FilteredFields): string {
  const parsed = parseFilterText(filter);
  let [result, at] = ["", 0];
  for (const { field, operator, values, from, to } of parsed ? conditionsIn(parsed) : []) {
    if (operator === "isNull") continue;
    const kind = kinds[field];
    const isText = fields[field]?.type === "text" || fields[field]?.type === "texts";
    const masked = values.map((value) => (kind ? String(mask(kind, value)) : isText ? maskedKeyword(value) : value));
    if (masked.every((value, index) => value === values[index])) continue;
    result += filter.slice(at, from) + masked.join(",");
    at = to;
  }
  return result + filter.slice(at);
}

/** A keyword as the audit trail stores it: masked if it looks like a phone number or an e-mail address. */
export function maskedKeyword(keyword: string): string {
  const kind = looksPersonal(keyword);
  return kind ? String(mask(kind, keyword)) : keyword;
}
