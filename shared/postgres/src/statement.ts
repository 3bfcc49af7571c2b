import {
  CamelCasePlugin,
  type Compilable,
  createQueryId,
  DummyDriver,
  Kysely,
  type OperationNode,
  PostgresAdapter,
  PostgresIntrospector,
  PostgresQueryCompiler,
  type RawBuilder,
  type RootOperationNode,
  sql,
} from "kysely";
import { LRUCache } from "lru-cache";

/** Stands for the tenant's schema in compiled texts and in migrations. */
export const tenantPlaceholder = "$tenant";
const quotedPlaceholder = `"${tenantPlaceholder}"`;

/** A parameter of a statement: a name when the statement is compiled, a value when it runs. */
export class Parameter {
  readonly name: string;
  constructor(name: string) {
    this.name = name;
  }
}

/** The parameters of a statement as expressions for Kysely. */
export type Parameters<P> = { readonly [K in keyof P]-?: RawBuilder<P[K]> };

/**
 * A query compiled once. Its text differs between tenants only by the schema's name, so that PostgreSQL can cache its plan.
 * P: values by name. R: one row, its columns in camelCase.
 */
export interface Statement<P, R> {
  readonly build: (parameters: Parameters<P>) => Compilable<R>;
  readonly compiled: CompiledStatement;
  /** Phantom: keeps R in the type. */
  readonly row?: R;
}

export interface CompiledStatement {
  /** Unique in this process. */
  readonly id: number;
  readonly text: string;
  /** In the order of $1, $2, …: a parameter's marker, or a constant. */
  readonly parameters: readonly unknown[];
  readonly keep: boolean;
  readonly long: boolean;
}

export interface StatementOptions {
  /** False for a one-off: it is sent without a name, so that no connection keeps it. */
  keep?: boolean;
  /** It may take seconds: outside a transaction it runs on a leased connection, and few per tenant run at once. */
  long?: boolean;
}

/** Query builder for tenant tables. It only compiles: statements run through a TenantDb or a TenantTx. */
export function tenantTables<Tables>(): Kysely<Tables> {
  return new Kysely<Tables>({
    dialect: {
      createAdapter: () => new PostgresAdapter(),
      createDriver: () => new DummyDriver(),
      createIntrospector: (db) => new PostgresIntrospector(db),
      createQueryCompiler: () => new PostgresQueryCompiler(),
    },
    plugins: [new CamelCasePlugin()],
  }).withSchema(tenantPlaceholder);
}

/** Placeholders for the parameters that `build` uses. */
export function markers<P>(): Parameters<P> {
  return new Proxy({} as Parameters<P>, { get: (_, name) => sql`${new Parameter(String(name))}` });
}

/** The parameters with these names, as the values of an insert or an update of the columns of the same names. */
export function valuesOf<P, Name extends keyof P>(parameters: Parameters<P>, names: readonly Name[]): Pick<Parameters<P>, Name> {
  return Object.fromEntries(names.map((name) => [name, parameters[name]])) as Pick<Parameters<P>, Name>;
}

/** The parameters with these names as the columns of a select: for an insert with a condition. */
export function selectionOf<P, Name extends keyof P & string>(parameters: Parameters<P>, names: readonly Name[]) {
  return names.map((name) => parameters[name].as(name));
}

/** The next version of the record that an update changes. */
export const nextVersion = sql<number>`version + 1`;

/** Declares a statement; it is compiled at its first use. */
export function statement<P, R>(build: (parameters: Parameters<P>) => Compilable<R>, options: StatementOptions = {}): Statement<P, R> {
  let compiled: CompiledStatement | undefined;
  return {
    build,
    get compiled() {
      compiled ??= compileNode(nodeOf(build(markers<P>())), options);
      return compiled;
    },
  };
}

export function nodeOf(query: Compilable): RootOperationNode {
  return (query as Compilable & { toOperationNode(): RootOperationNode }).toOperationNode();
}

const compiler = new PostgresQueryCompiler();
let compiledCount = 0;

export function compileNode(node: OperationNode, { keep = true, long = false }: StatementOptions = {}): CompiledStatement {
  const query = compiler.compileQuery(node as RootOperationNode, createQueryId());
  return { id: compiledCount++, text: query.sql, parameters: query.parameters, keep, long };
}

/** The text for one tenant's schema. */
export function textFor(compiled: CompiledStatement, quotedSchema: string): string {
  return compiled.text.replaceAll(quotedPlaceholder, quotedSchema);
}

/** The values in the order of the text; an absent one is null. */
export function bind(compiled: CompiledStatement, values: object): unknown[] {
  return compiled.parameters.map((parameter) =>
    parameter instanceof Parameter ? ((values as Record<string, unknown>)[parameter.name] ?? null) : parameter,
  );
}

/** Statements that depend on the request (filters, sort), compiled once per shape; the least recently used ones are evicted. */
export class StatementCache<P, R> {
  readonly #statements: LRUCache<string, Statement<P, R>> | undefined;

  /** `limit`: number of cached shapes; with 0 each statement is compiled and planned for a single use. */
  constructor(limit: number) {
    this.#statements = limit > 0 ? new LRUCache({ max: limit }) : undefined;
  }

  /**
   * The statement of this shape. `build` must depend on nothing that `shape` does not identify. With `keep` false the statement runs
   * unnamed: the endless variety of callers' filters fills neither this cache nor the connections'.
   */
  get(shape: string, build: (parameters: Parameters<P>) => Compilable<R>, keep = true): Statement<P, R> {
    const cache = keep ? this.#statements : undefined;
    const known = cache?.get(shape);
    if (known) return known;
    const made = statement<P, R>(build, { keep: cache !== undefined });
    cache?.set(shape, made);
    return made;
  }
}
