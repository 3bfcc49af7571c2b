import { storable } from "@cell/http";
import type { Tenant } from "@cell/postgres";
import { badField } from "@cell/problem";
import { maskedField, type SensitiveKind } from "../schema/masking.ts";
import { type Conventions, conventionsOf, defaultConventions } from "../settings/stored.ts";
import { type Condition, conditionOf, joined } from "./conditions.ts";
import { checkKnown, type FieldType, formOf, hasForm, type ListField, type ListFields } from "./field-types.ts";
import { conditionsIn, operators, type ParsedCondition, type ParsedFilter, parseFilterText } from "./filter-syntax.ts";
import { compactPhone, folded } from "./fold.ts";

/** The tenant and the fields of a filter, and what its caller may not read. */
export interface FilterScope {
  fields: ListFields;
  tenant: Tenant;
  /** Makes the condition of a folded keyword, if the list has one. */
  keyword?: ((folded: string) => Condition) | undefined;
  maskedKind(field: string): SensitiveKind | undefined;
}

/** The conditions of a filter, which must all hold. Throws BAD_REQUEST, and FIELD_MASKED by `maskedKind`. */
export async function filterConditions(text: string | undefined, scope: FilterScope): Promise<Condition[]> {
  const filter = text === undefined ? undefined : parseFilterText(text);
  if (!filter) return [];
  const parsed = conditionsIn(filter);
  for (const condition of parsed) {
    checkCondition(condition, scope);
    condition.values = condition.values.map((value) => canonical(fieldOf(scope, condition.field).type, value));
  }
  await Promise.all(parsed.map((condition) => checkValues(condition, scope)));
  const conventions = parsed.some((condition) => dependsOnTenant(condition, scope))
    ? await conventionsOf(scope.tenant)
    : defaultConventions;
  const compared = new Map<ParsedCondition, Condition>();
  for (const condition of parsed) {
    const field = fieldOf(scope, condition.field);
    const values = await comparedValues(condition, field, scope.tenant, conventions);
    const made = conditionOf({ ...condition, values }, field, conventions.timezone);
    const [value = ""] = values;
    // An index finds the records that contain the text in any field, so that few fields have to be folded.
    const isIndexed = field.searched && condition.operator === "contains" && scope.keyword;
    compared.set(condition, isIndexed ? joined("and", [isIndexed(value), made]) : made);
  }
  const build = (part: ParsedFilter): Condition =>
    part.kind === "condition" ? (compared.get(part) as Condition) : joined(part.kind, part.parts.map(build));
  return filter.kind === "and" ? filter.parts.map(build) : [build(filter)];
}

function fieldOf({ fields }: Pick<FilterScope, "fields">, name: string): ListField {
  const field = Object.hasOwn(fields, name) ? fields[name] : undefined;
  if (!field) throw badField("filter", "UNKNOWN_FIELD", `${name} cannot be filtered by; ${Object.keys(fields).join(", ")} can`);
  return field;
}

/** Checks a condition without the tenant's data. */
function checkCondition({ field: name, operator, values }: ParsedCondition, scope: FilterScope): void {
  const { type } = fieldOf(scope, name);
  if (!operators.some((known) => known === operator))
    throw badField("filter", "INVALID_ENUM", `the operator ${operator} is not one of ${operators.join(", ")}`);
  if (operator === "isNull") {
    if (values[0] !== "true" && values[0] !== "false") throw badField("filter", "INVALID_FORMAT", `${name}[isNull] takes true or false`);
    return;
  }
  if (scope.maskedKind(name)) throw maskedField(name);
  if (operator === "contains" && !["text", "texts", "phone", "email"].includes(type))
    throw badField("filter", "INVALID_FORMAT", `${name} is not a text: contains does not apply`);
  if (type === "texts" && ["gt", "gte", "lt", "lte"].includes(operator))
    throw badField("filter", "INVALID_FORMAT", `${name} is a list: it takes eq, ne, in, contains and isNull`);
  if (!values.every((value) => hasForm(type, value)))
    throw badField("filter", "INVALID_FORMAT", `${name} is compared with ${formOf(type)}`);
}

/** A value in its stored form. Throws BAD_REQUEST for a text that cannot be stored. */
function canonical(type: FieldType, value: string): string {
  if (type === "uuid") return value.toLowerCase();
  const stored = storable(value, value.length);
  if ("fault" in stored) throw badField("filter", "INVALID_FORMAT", stored.fault);
  if (stored.text === "") throw badField("filter", "INVALID_FORMAT", "has a value without visible characters");
  return stored.text;
}

/** Rejects values that a field with known values does not have. */
async function checkValues({ field: name, operator, values }: ParsedCondition, scope: FilterScope): Promise<void> {
  const { values: known } = fieldOf(scope, name);
  if (known && operator !== "isNull" && operator !== "contains") await checkKnown("filter", known, values, scope.tenant, name);
}

function dependsOnTenant({ field, operator }: ParsedCondition, scope: FilterScope): boolean {
  const { type } = fieldOf(scope, field);
  return operator !== "isNull" && (type === "time" || type === "phone");
}

/** The values of a condition in the form in which they are compared: phone numbers in all their forms, searched texts folded. */
async function comparedValues(
  { operator, values }: ParsedCondition,
  { type, forms }: ListField,
  tenant: Tenant,
  { region }: Conventions,
): Promise<readonly string[]> {
  if (operator === "isNull") return values;
  const isWhole = operator === "eq" || operator === "ne" || operator === "in";
  if (type === "phone" && isWhole && forms) return (await Promise.all(values.map((value) => forms(value, region)))).flat();
  if (type === "phone") return values.map(compactPhone);
  const isFolded = type === "email" ? isWhole || operator === "contains" : type === "text" && operator === "contains";
  return isFolded ? folded(tenant.reader(), values) : values;
}
