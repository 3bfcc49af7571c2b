import { type AuditDraft, auditedValue, mask, resources, type SensitiveKind, unguard } from "@cell/cell";
import { isInvisible } from "@cell/http";
import { fieldsOf } from "./domain.ts";
import type { ImportActor, ImportColumn } from "./importer.ts";

type Kinds = Readonly<Record<string, SensitiveKind>>;

/** The fields of a row with values that its importer may not read of a record. Nothing may depend on whether a record holds the same. */
export function hiddenFields(kinds: Kinds, values: object, { readable = [] }: ImportActor): string[] {
  return Object.entries(kinds).flatMap(([field, kind]) => {
    const value = (values as Record<string, unknown>)[field];
    return readable.includes(kind) || value === undefined || value === null || value === "" ? [] : field;
  });
}

/** An entry that names fields in any case, in a place of their own, whether they differ or not. */
export function withFields(draft: AuditDraft, fields: readonly string[], before: object, after: object): AuditDraft {
  if (fields.length === 0) return draft;
  const of = resources.get(draft.resourceType) ?? { amounts: new Set<string>() };
  const named = fields.map((field) => ({ field, before: auditedValue(of, before, field), after: auditedValue(of, after, field) }));
  return { ...draft, changes: [...draft.changes.filter(({ field }) => !fields.includes(field)), ...named] };
}

const hidden = "***";
/** The forms that masked values have: they mean "unchanged" when they come back. */
const maskForms: Record<SensitiveKind, RegExp> = {
  phone: /^(?:\+\d{1,3})?\d{0,3}\*{4}\d{0,4}$/,
  email: /^.?\*{3}(?:@[^@]*)?$/u,
  amount: /^\*{4}$/,
};
/** What a heading is not, unless a row of values stands in its place. */
const personal = /\d{6}|@/;

/** A heading as a reader may see it who may read these kinds. */
export function shownHeading(heading: string, sensitive: Kinds, readable: ReadonlySet<SensitiveKind>): string {
  return !isAllReadable(sensitive, readable) && personal.test(heading) ? hidden : heading;
}

function isAllReadable(sensitive: Kinds, readable: ReadonlySet<SensitiveKind>): boolean {
  return Object.values(sensitive).every((kind) => readable.has(kind));
}

export interface ErrorFileColumns {
  headings: readonly string[];
  columns: Readonly<Record<string, ImportColumn>>;
  sensitive: Kinds;
}

/** Shows the failed rows of an import to a reader who may read these kinds: what else is sensitive is masked, and so is what may be. */
export class FailedRowView {
  readonly #headings: readonly string[];
  /** What each column holds: a kind of sensitive values, nothing of them, or values of which nothing is known. */
  readonly #kinds: readonly (SensitiveKind | "open" | "unknown")[];
  readonly #sensitive: Kinds;
  readonly #readable: ReadonlySet<SensitiveKind>;
  readonly #isOpen: boolean;

  constructor({ headings, columns, sensitive }: ErrorFileColumns, readable: ReadonlySet<SensitiveKind>) {
    this.#headings = headings;
    this.#sensitive = sensitive;
    this.#readable = readable;
    this.#kinds = fieldsOf(headings, columns).map((field) => (field === undefined ? "unknown" : (sensitive[field] ?? "open")));
    this.#isOpen = isAllReadable(sensitive, readable);
  }

  heading(heading: string): string {
    return shownHeading(heading, this.#sensitive, this.#readable);
  }

  /** The cells of a row, each without the quote that guards a formula. */
  cells(cells: readonly string[]): string[] {
    if (this.#isOpen) return cells.map(unguard);
    // Values without a heading: those before them may be in the wrong column.
    const isShifted = cells.some((cell, index) => !this.#headings[index]?.trim() && !isInvisible(cell));
    return cells.map((cell, index) => this.#cell(unguard(cell), isShifted ? "unknown" : (this.#kinds[index] ?? "unknown")));
  }

  #cell(cell: string, kind: SensitiveKind | "open" | "unknown"): string {
    if (kind === "open" || isInvisible(cell)) return cell;
    if (kind === "unknown") return hidden;
    return this.#readable.has(kind) || maskForms[kind].test(cell.trim()) ? cell : String(mask(kind, cell.trim()));
  }
}
