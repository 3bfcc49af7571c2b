import { z } from "zod";
import type { FieldType, ListField } from "./field-types.ts";
import type { ListDefinition } from "./list-types.ts";

/** An integer parameter of a query. */
export function intParam(min: number, max: number) {
  return z
    .string()
    .regex(/^(?:0|[1-9]\d{0,8})$/, "must be a whole number")
    .transform(Number)
    .pipe(z.number().min(min).max(max))
    .meta({ type: "integer", minimum: min, maximum: max });
}

/** A boolean parameter of a query. */
export function booleanParam() {
  return z
    .enum(["true", "false"])
    .transform((value) => value === "true")
    .meta({ type: "boolean" });
}

const typeNames: Record<FieldType, string> = {
  text: "text",
  phone: "phone number",
  email: "e-mail address",
  texts: "list of texts",
  time: "time",
  date: "date",
  number: "number",
  integer: "integer",
  boolean: "boolean",
  uuid: "UUID",
};

/** The documented type of a field: its values if they are few and the same for every tenant. */
function typeOf({ type, values }: ListField): string {
  return Array.isArray(values) && values.length <= mostNamed ? values.join(", ") : typeNames[type];
}

const mostNamed = 10;

/** A list's documented query: with the fields of its filter and its order, without parameters that it does not support. */
export function documentedQuery<Query extends z.ZodObject>(query: Query, listing: ListDefinition<object>): z.ZodObject {
  const shape: Record<string, z.ZodType> = { ...query.shape };
  const { fields, keyword, owner, resource, defaultSort } = listing;
  const describe = (name: string, more: string) => {
    const schema = shape[name];
    if (!schema) return;
    const { description, ...meta } = schema.meta() ?? {};
    shape[name] = schema.meta({ ...meta, description: `${description ?? ""}.\n\n${more}` });
  };
  const filterable = Object.entries(fields).map(([name, field]) => `\`${name}\` (${typeOf(field)})`);
  const sortable = Object.keys(fields).filter((name) => fields[name]?.sort);
  describe("filter", `Fields: ${filterable.join(", ")}`);
  describe("sort", `Fields: ${sortable.map((name) => `\`${name}\``).join(", ")}. By default \`${defaultSort}\``);
  if (!keyword) delete shape.keyword;
  if (!owner) delete shape.ownerId;
  if (Object.keys(resource.sensitive).length === 0) delete shape.reveal;
  else
    describe(
      "reveal",
      `Fields: ${Object.keys(resource.sensitive)
        .map((name) => `\`${name}\``)
        .join(", ")}`,
    );
  return z.strictObject(shape);
}
