import { looksPersonal, mask, type SensitiveKind } from "../schema/masking.ts";
import { conditionsIn, parseFilterText } from "./filter-syntax.ts";

/** A filter with the values of sensitive fields masked, as the audit trail may keep it. */
export function maskedFilter(filter: string, kinds: Readonly<Record<string, SensitiveKind>>): string {
  const parsed = parseFilterText(filter);
  const masked = (parsed ? conditionsIn(parsed) : []).filter(({ field, operator }) => kinds[field] && operator !== "isNull");
  let [result, at] = ["", 0];
  for (const { field, values, from, to } of masked) {
    const kind = kinds[field] as SensitiveKind;
    result += filter.slice(at, from) + values.map((value) => mask(kind, value)).join(",");
    at = to;
  }
  return result + filter.slice(at);
}

/** A keyword as the audit trail may keep it: one that has the form of a phone number or an e-mail address is masked. */
export function maskedKeyword(keyword: string): string {
  const kind = looksPersonal(keyword);
  return kind ? String(mask(kind, keyword)) : keyword;
}
