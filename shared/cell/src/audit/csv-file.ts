import { csvLine } from "../csv/csv.ts";
import type { FieldAccess } from "../schema/masking.ts";
import { type AuditLog, auditLog } from "./schema.ts";

/** The columns of the file. */
export const fields = auditLog.fields.filter((field) => field !== "_masked");

/**
 * Audit entries as a CSV file in pieces, masked as in the detail response. `ended` receives their number before the last piece is sent, or
 * with `completed` false after the client has left.
 */
export async function* csvFile(
  batches: AsyncGenerator<AuditLog[]>,
  fieldAccess: FieldAccess,
  tenantId: string,
  ended: (rows: number, completed: boolean) => Promise<void>,
): AsyncGenerator<string> {
  let sent = 0;
  let completed = false;
  let held = `\uFEFF${csvLine(fields)}`;
  try {
    for await (const entries of batches) {
      yield held;
      held = entries.map((entry) => line(auditLog.present(entry, fieldAccess, tenantId))).join("");
      sent += entries.length;
    }
    await ended(sent, true);
    completed = true;
    yield held;
  } finally {
    if (!completed) await ended(sent, false);
  }
}

function line(presented: object): string {
  return csvLine(fields.map((field) => (presented as Record<string, unknown>)[field]));
}
