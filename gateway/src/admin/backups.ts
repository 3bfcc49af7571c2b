import { abortSent, readBytes, sendStream } from "@cell/http";
import { type Digest, differingTables } from "@cell/postgres/transfer/digest";
import { notFound, Problem } from "@cell/problem";
import { z } from "zod";
import { change } from "../control-plane/tables.ts";
import { digest, load, type Place, rowsOf, step, verifyTrail } from "../moves/copying.ts";
import * as moves from "../moves/repository.ts";
import type { Services } from "../services.ts";
import type { AdminRoutes } from "./admin-routes.ts";
import { adminEndpoint } from "./endpoint.ts";
import { cellSchema, integerParam, nameSchema, tenantIdSchema } from "./schemas.ts";
import * as tenants from "./tenants/repository.ts";

const params = z.object({ tenantId: tenantIdSchema });
const epochSchema = integerParam(1, Number.MAX_SAFE_INTEGER).describe("The response to the start of the restore");

/** Size limit of a part of a backup in bytes. */
const mostPartBytes = 64 * 1024 * 1024;

const exampleBackup = '{"tenantId":"tenant-001","cell":"crm","version":15}\n{"table":"settings","columns":["version"]}\n1\n\\.\n';

const backup = adminEndpoint({
  method: "get",
  path: "/api/admin/tenants/{tenantId}/backup",
  tag: "Backups",
  callers: "operator",
  summary: "A tenant's rows in one cell, from one snapshot",
  description:
    "Lines: a head in JSON; for each table its name and columns in JSON, its rows as COPY writes them and `\\.`; an end in JSON with counts and checksums.",
  params,
  query: z.strictObject({ cell: cellSchema }),
  status: 200,
  response: { description: "The rows", schema: z.string(), type: "text/plain", example: exampleBackup },
  errorResponses: [404],
});

const restoreBegin = adminEndpoint({
  method: "post",
  path: "/api/admin/tenants/{tenantId}/restore",
  tag: "Backups",
  callers: "operator",
  summary: "Begin to restore a tenant into a cell that does not have it",
  params,
  body: z.strictObject({ cell: cellSchema, name: nameSchema, version: z.int().min(0) }),
  status: 201,
  response: { description: "Send the rows, then finish", schema: z.strictObject({ epoch: z.int() }) },
  errorResponses: [404, 409],
});

const restoreRows = adminEndpoint({
  method: "post",
  path: "/api/admin/tenants/{tenantId}/restore/rows",
  tag: "Backups",
  callers: "operator",
  summary: "Load whole rows of one table, as in the backup",
  params,
  query: z.strictObject({
    cell: cellSchema,
    epoch: epochSchema,
    table: z.string().max(63).describe("The table of the rows"),
    columns: z.string().max(4_000).describe("Their columns, comma-separated"),
  }),
  files: ["application/octet-stream"],
  status: 200,
  response: { description: "The rows are loaded", schema: z.strictObject({}) },
  errorResponses: [404, 409, 413],
});

const nameInDatabase = z.string().max(63);
const sequenceSchema = z.strictObject({
  sequence: nameInDatabase.meta({ example: "audit_logs_seq_seq" }),
  lastValue: z.string().max(20).meta({ example: "105" }),
  isCalled: z.boolean(),
});

const endSchema = z.strictObject({
  cell: cellSchema,
  epoch: z.int().min(1),
  sequences: z.array(sequenceSchema),
  digest: z.strictObject({
    version: z.int(),
    snapshot: z.string().max(20_000).meta({ example: "1021:1021:" }),
    tables: z.array(
      z.strictObject({
        table: nameInDatabase.meta({ example: "customers" }),
        rows: z.int(),
        checksum: z.string().max(200).meta({ example: "5d41402abc4b2a76b9719d911017c592" }),
      }),
    ),
    sequences: z.array(sequenceSchema),
  }),
});

const restoreFinish = adminEndpoint({
  method: "post",
  path: "/api/admin/tenants/{tenantId}/restore/finish",
  tag: "Backups",
  callers: "operator",
  summary: "Compare what was restored with the backup's counts and checksums, verify the audit trail, and serve the tenant",
  params,
  body: endSchema,
  status: 200,
  response: {
    description: "The tenant is served",
    schema: z.strictObject({ tenantId: tenantIdSchema, rows: z.int(), auditEntries: z.int() }),
  },
  errorResponses: [404, 409],
});

/** Backups of tenants: only for the operator. */
export function registerBackups(routes: AdminRoutes, { db, cells, changed, log }: Services): void {
  async function placeOf(tenantId: string, cell: string, epoch = 0): Promise<Place> {
    const place = (await tenants.places(db, tenantId)).find((one) => one.cell === cell);
    if (!place) throw notFound("Tenant");
    return { partition: place, tenantId, epoch };
  }

  routes.stream(backup, async ({ params: { tenantId }, query, context }) => {
    const rows = await rowsOf(cells, await placeOf(tenantId, query.cell), { digest: "true" });
    const { outgoing } = context.env;
    return sendStream(outgoing, 200, { "content-type": "text/plain; charset=utf-8" }, rows).catch((error) => {
      // An incomplete backup must not look complete.
      const cut = abortSent(outgoing);
      if (cut) return cut;
      throw error;
    });
  });

  routes.respond(restoreBegin, async ({ params: { tenantId }, body: { cell, name, version } }) => {
    if (await moves.isRunning(db, tenantId)) throw new Problem("CONFLICT", `${tenantId} is being moved`);
    await change(db, async (tx) => {
      if (!(await tenants.find(tx, tenantId))) await tenants.save(tx, { tenantId, name });
      await tenants.place(tx, tenantId, cell);
    });
    const epoch = await moves.nextEpoch(db);
    await step(cells, await placeOf(tenantId, cell, epoch), "arrive", { version });
    return { epoch };
  });

  routes.respond(restoreRows, async ({ params: { tenantId }, query: { cell, epoch, table, columns }, context }) => {
    const rows = await readBytes(context.env.incoming, mostPartBytes);
    await load(cells, await placeOf(tenantId, cell, epoch), { table, columns: columns.split(","), mode: "copy", rows });
    return {};
  });

  routes.respond(restoreFinish, async ({ params: { tenantId }, body }) => {
    const startedAtMs = performance.now();
    const { cell, epoch, sequences, digest: expected } = body;
    const place = await placeOf(tenantId, cell, epoch);
    await step(cells, place, "index");
    const differing = differingTables(expected as Digest, await digest(cells, place));
    if (differing.length > 0) throw new Problem("CONFLICT", `The restored rows differ from the backup in: ${differing.join(", ")}`);
    await step(cells, place, "complete", { sequences });
    const trail = await verifyTrail(cells, place);
    if (!trail.ok) throw new Problem("CONFLICT", "The audit trail of the backup does not verify");
    await step(cells, place, "resume");
    await step(cells, place, "settle");
    // A backup of an earlier version is migrated here.
    await cells.provision(place.partition, tenantId);
    await change(db, (tx) => tenants.setProvisioned(tx, tenantId, true));
    changed();
    const rows = expected.tables.reduce((sum, table) => sum + table.rows, 0);
    log.info({ tenantId, cell, rows, ms: Math.round(performance.now() - startedAtMs) }, "a tenant was restored");
    return { tenantId, rows, auditEntries: trail.checked };
  });
}
