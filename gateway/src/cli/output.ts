/** Prints rows under a head, the columns as wide as they need. */
export function printTable(columns: string[], rows: (string | number | null)[][]): void {
  const cells = [columns, ...rows.map((row) => row.map((value) => (value === null ? "-" : String(value))))];
  const widths = columns.map((_, index) => Math.max(...cells.map((row) => row[index]?.length ?? 0)));
  for (const row of cells)
    console.log(
      row
        .map((value, index) => value.padEnd(widths[index] ?? 0))
        .join("  ")
        .trimEnd(),
    );
}
