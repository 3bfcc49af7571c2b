import { z } from "zod";
import { type FieldAccess, isMasked, mask, type SensitiveKind, sensitiveFields } from "./masking.ts";
import { formatMoney, moneyResponse } from "./money.ts";

/** One field of a response. */
export interface Field {
  name: string;
  kind: SensitiveKind | undefined;
  /** An amount with the decimals of the row's currency. */
  isMoney: boolean;
}

/**
 * Turns a row into a response: the declared fields in order, masked for the caller, amounts in the form of the row's `currency`.
 * Fills in a field `tenantId`.
 */
export interface Presenter<Row extends object = object> {
  /** The response schema, for the document. */
  readonly responseSchema: z.ZodType;
  /** The response for a caller with this field access. */
  present(row: Row, fieldAccess: FieldAccess, tenantId: string): object;
  /** The declared fields of a row, unmasked, as they are stored for replays. */
  pick(row: Row, tenantId: string): Row;
}

export interface ResourceOptions {
  /** The field that identifies a record. */
  id: string;
  /** The field with its name for people, for the audit trail. */
  label: string;
}

/** A resource: its name in the audit trail, its fields, and which are sensitive. Everything else is derived from its schema. */
export interface Resource<Row extends object = object> extends Presenter<Row> {
  readonly type: string;
  /** Title for people: "Customer". */
  readonly title: string;
  readonly id: string;
  readonly label: string;
  /** The kinds of its sensitive fields, by name. */
  readonly sensitive: Readonly<Record<string, SensitiveKind>>;
  /** Its amounts: the sensitive fields with the decimals of the record's `currency`. */
  readonly amounts: ReadonlySet<string>;
  /** All fields, in the order of the schema. */
  readonly fields: readonly string[];
}

const declared = new Map<string, Resource>();

/** All declared resources by type: those that the audit trail knows. */
export const resources: ReadonlyMap<string, Resource> = declared;

/** Declares a resource by the schema of its record. */
export function resource<Shape extends z.ZodRawShape>(
  type: string,
  schema: z.ZodObject<Shape>,
  options: ResourceOptions,
): Resource<Omit<z.infer<z.ZodObject<Shape>>, "tenantId">> {
  type Row = Omit<z.infer<z.ZodObject<Shape>>, "tenantId">;
  const fields = declaredFields(schema);
  const kinds = fields.flatMap((field) => (field.kind ? [[field.name, field.kind] as const] : []));
  const made = {
    type,
    title: type.charAt(0).toUpperCase() + type.slice(1),
    id: options.id,
    label: options.label,
    sensitive: Object.fromEntries(kinds),
    amounts: new Set(fields.flatMap(({ name, isMoney }) => (isMoney ? name : []))),
    fields: fields.map((field) => field.name),
    ...presenterOf<Row>(fields, kinds.length === 0 ? schema : withMasked(schema)),
  };
  declared.set(type, made as Resource);
  return made;
}

/** The response of a list of records, for the document. */
export function listOf<Row extends object>(of: Resource<Row>, responseSchema: z.ZodType): Presenter<Row> {
  return { responseSchema, pick: (row) => row, present: () => unused(of.type) };
}

function unused(type: string): never {
  throw new Error(`A list of ${type} presents its records one by one`);
}

/** A response that is only a file: its route names the media type. */
export const fileResponse: Presenter = { responseSchema: z.never(), pick: (row) => row, present: (row) => row };

/** A response that is not a record: its declared fields, masked if they are sensitive. */
export function response<Shape extends z.ZodRawShape>(schema: z.ZodObject<Shape>): Presenter<z.infer<z.ZodObject<Shape>>> {
  const fields = declaredFields(schema);
  return presenterOf(fields, fields.some((field) => field.kind) ? withMasked(schema) : schema);
}

/**
 * A response of nested objects, such as a report: each is masked by itself. Its amounts must already be formatted, since currencies may
 * mix.
 */
export function report<Shape extends z.ZodRawShape>(schema: z.ZodObject<Shape>): Presenter<z.infer<z.ZodObject<Shape>>> {
  return {
    responseSchema: withMaskedWithin(schema),
    pick: (row) => row,
    present: (row, fieldAccess) => presentWithin(schema, row, fieldAccess) as object,
  };
}

/** The schema with a `_masked` in every object that has sensitive fields. */
function withMaskedWithin(schema: z.ZodType): z.ZodType {
  const meta = schema.meta() ?? {};
  if (schema instanceof z.ZodNullable)
    return withMaskedWithin(schema.unwrap() as z.ZodType)
      .nullable()
      .meta(meta);
  if (schema instanceof z.ZodArray) return z.array(withMaskedWithin(schema.element as z.ZodType)).meta(meta);
  if (!(schema instanceof z.ZodObject)) return schema;
  const shape = Object.entries(schema.shape).map(
    ([name, field]) => [name, sensitivityOf(field) ? field : withMaskedWithin(field)] as const,
  );
  const inner = z.object(Object.fromEntries(shape));
  return (declaredFields(schema).some((field) => field.kind) ? inner.extend({ _masked: maskedNames }) : inner).meta(meta);
}

function presentWithin(schema: z.ZodType, value: unknown, fieldAccess: FieldAccess): unknown {
  if (value === null || value === undefined) return value;
  if (schema instanceof z.ZodNullable) return presentWithin(schema.unwrap() as z.ZodType, value, fieldAccess);
  if (schema instanceof z.ZodArray)
    return (value as unknown[]).map((item) => presentWithin(schema.element as z.ZodType, item, fieldAccess));
  if (!(schema instanceof z.ZodObject)) return value;
  const fields = declaredFields(schema);
  const source = value as Record<string, unknown>;
  const isMasked = ({ name, kind }: Field) =>
    kind !== undefined && !fieldAccess.clear.has(kind) && mask(kind, source[name]) !== source[name];
  const masked = fields.filter(isMasked);
  const shown = fields.map((field) => {
    const { name, kind } = field;
    if (kind) return [name, masked.includes(field) ? mask(kind, source[name]) : source[name]];
    return [name, presentWithin(schema.shape[name] as z.ZodType, source[name], fieldAccess)];
  });
  const names = fields.some((field) => field.kind) ? { _masked: masked.map((field) => field.name) } : {};
  return { ...Object.fromEntries(shown), ...names };
}

const maskedNames = z.array(z.string()).meta({ description: "The fields of this object that are masked", examples: [["contactPhone"]] });

function withMasked(schema: z.ZodObject): z.ZodType {
  const { id, ...meta } = schema.meta() ?? {};
  const amounts = Object.entries(schema.shape).flatMap(([name, field]) => {
    return sensitivityOf(field)?.isMoney ? [[name, documentedAmount(field)] as const] : [];
  });
  const extended = schema.extend({ ...Object.fromEntries(amounts), _masked: maskedNames });
  return id ? extended.meta({ ...meta, id: String(id) }) : extended;
}

/** Response schema of an amount, which is always a text; a request may have numbers too. */
function documentedAmount(field: z.ZodType): z.ZodType {
  const { description, examples, "x-sensitive": kind } = field.meta() ?? {};
  const amount = moneyResponse();
  const meta = {
    ...amount.meta(),
    "x-sensitive": kind ?? "amount",
    ...(description ? { description } : {}),
    ...(examples ? { examples } : {}),
  };
  return field instanceof z.ZodNullable ? amount.nullable().meta(meta) : amount.meta(meta);
}

function declaredFields(schema: z.ZodObject): Field[] {
  return Object.entries(schema.shape).map(([name, field]) => {
    const { kind, isMoney = false } = sensitivityOf(field as z.ZodType) ?? {};
    return { name, kind, isMoney };
  });
}

/** The sensitivity of a field, also inside `nullable` and similar wrappers. */
function sensitivityOf(field: z.ZodType): { kind: SensitiveKind; isMoney?: boolean } | undefined {
  const own = sensitiveFields.get(field);
  if (own) return own;
  const inner = (field.def as { innerType?: z.ZodType }).innerType;
  return inner ? sensitivityOf(inner) : undefined;
}

const presented = new WeakMap<Presenter["present"], readonly Field[]>();

/** The fields of a presenter whose responses are exactly its row's declared fields; undefined if it computes its own. */
export function fieldsOf<Row extends object>(presenter: Presenter<Row>): readonly Field[] | undefined {
  return presented.get(presenter.present as Presenter["present"]);
}

function presenterOf<Row extends object>(fields: readonly Field[], responseSchema: z.ZodType): Presenter<Row> {
  const names = fields.map((field) => field.name);
  const isSensitive = fields.some((field) => field.kind);
  const made: Presenter<Row> = {
    responseSchema,
    pick(row, tenantId) {
      const source = row as Record<string, unknown>;
      return Object.fromEntries(names.map((name) => [name, name === "tenantId" ? tenantId : source[name]])) as Row;
    },
    present(row, fieldAccess, tenantId) {
      const source = row as Record<string, unknown>;
      const result: Record<string, unknown> = {};
      if (!isSensitive) {
        for (const name of names) result[name] = name === "tenantId" ? tenantId : source[name];
        return result;
      }
      const masked: string[] = [];
      for (const { name, kind, isMoney } of fields) {
        const value = source[name];
        if (kind && value !== null && value !== undefined && value !== "" && isMasked(fieldAccess, name, kind)) {
          result[name] = mask(kind, value);
          masked.push(name);
        } else if (isMoney && value !== null && value !== undefined) result[name] = formatMoney(String(value), String(source.currency));
        else result[name] = name === "tenantId" ? tenantId : value;
      }
      result._masked = masked;
      return result;
    },
  };
  presented.set(made.present as Presenter["present"], fields);
  return made;
}
