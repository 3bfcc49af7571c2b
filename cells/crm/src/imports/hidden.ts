import { mask, type SensitiveKind, unguard } from "@cell/cell";
import { isInvisible } from "@cell/http";
import { fieldsOf } from "./domain.ts";
import type { ImportColumn } from "./importer.ts";

type Kinds = Readonly<Record<string, SensitiveKind>>;

const hidden = "***";
/** The forms of masked values, which mean "unchanged" when they are sent back. */
const maskForms: Record<SensitiveKind, RegExp> = {
  phone: /^(?:\+\d{1,3})?\d{0,3}\*{4}\d{0,4}$/,
  email: /^.?\*{3}(?:@[^@]*)?$/u,
  amount: /^\*{4}$/,
};
/** A heading with this is probably a data row in place of the header. */
const personal = /\d{6}|@/;

/** A heading as a caller with these readable kinds may see it. */
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

/** Shows the failed rows of an import to a caller with these readable kinds: everything else that is or may be sensitive is masked. */
export class FailedRowView {
  readonly #headings: readonly string[];
  /** The content of each column: a sensitive kind, nothing sensitive, or unknown. */
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

  /** The cells of a row without guarding quotes. */
  cells(cells: readonly string[]): string[] {
    if (this.#isOpen) return cells.map(unguard);
    // Values without a heading: the cells before them may be in the wrong column.
    const isShifted = cells.some((cell, index) => !this.#headings[index]?.trim() && !isInvisible(cell));
    return cells.map((cell, index) => this.#cell(unguard(cell), isShifted ? "unknown" : (this.#kinds[index] ?? "unknown")));
  }

  #cell(cell: string, kind: SensitiveKind | "open" | "unknown"): string {
    if (kind === "open" || isInvisible(cell)) return cell;
    if (kind === "unknown") return hidden;
    return this.#readable.has(kind) || maskForms[kind].test(cell.trim()) ? cell : String(mask(kind, cell.trim()));
  }
}
