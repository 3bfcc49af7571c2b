import type { Compilable } from "kysely";
import type { ResponseKind } from "../schema/masking.ts";
import type { Resource } from "../schema/resource.ts";
import type { Condition } from "./conditions.ts";
import type { ListFields } from "./field-types.ts";
import type { SortKey } from "./sort.ts";

/** The definition of a resource's list. */
export interface ListDefinition<Row extends object> {
  resource: Resource<Row>;
  /** The select over the live records, with all columns of the resource. */
  select(): Compilable<Row>;
  fields: ListFields;
  defaultSort: string;
  /** The id's field: breaks ties, so that the order is total. */
  id: string;
  /** Makes the condition of a folded keyword: a substring search by an index. */
  keyword?: (folded: string) => Condition;
  /** The types of the records that a count of matches depends on, each written with an audit entry: if set, counts are cached. */
  countsDependOn?: readonly string[];
  /** Decides masking; default: "list". */
  responseKind?: ResponseKind;
  /** The field that `ownerId=` compares. */
  owner?: string;
  /** What a caller of scope `own` may see; default: by the `owner` field. */
  visibleTo?: (userId: string) => Condition;
}

/** One resolved request for a list: everything that its statement depends on, and its values. */
export interface ListRequest {
  conditions: Condition[];
  sort: SortKey[];
  values: Record<string, unknown>;
  /** A common shape: its statements are worth caching. */
  isCommon: boolean;
  /** The keyword's condition, if the list's default order is requested: the order's index can then give the records to scan. */
  keyword?: Condition | undefined;
}

/** A statement's values by name. */
export type Values = Record<string, unknown>;
