import { abortSent, sendStream } from "@cell/http";
import { type Digest, differingTables } from "@cell/postgres/transfer/digest";
import { notFound, Problem } from "@cell/problem";
import { createRoute, type OpenAPIHono, z } from "@hono/zod-openapi";
import { change } from "../control-plane/tables.ts";
import { digest, load, type Place, rowsOf, step, verifyTrail } from "../moves/copying.ts";
import * as moves from "../moves/repository.ts";
import type { Services } from "../services.ts";
import { type GatewayEnv, requireOperator } from "./access.ts";
import { cellSchema, integerParam, nameSchema, problems, response, security, tenantIdSchema, textResponse } from "./openapi.ts";
import * as tenants from "./tenants/repository.ts";

const tags = ["Backups"];
const params = z.object({ tenantId: tenantIdSchema });
const epochSchema = integerParam(1, Number.MAX_SAFE_INTEGER).describe("The response to the start of the restore");

/** Route of a backup's parts: not JSON, and larger than other bodies. */
export const partPath = "/api/admin/tenants/:tenantId/restore/rows";
export const partLimitBytes = 64 * 1024 * 1024;

const exampleBackup = '{"tenantId":"tenant-001","cell":"crm","version":15}\n{"table":"settings","columns":["version"]}\n1\n\\.\n';

const backup = createRoute({
  method: "get",
  path: "/api/admin/tenants/{tenantId}/backup",
  tags,
  security,
  summary: "A tenant's rows in one cell, from one snapshot",
  description:
    "Lines: a head in JSON; for each table its name and columns in JSON, its rows as COPY writes them and `\\.`; an end in JSON with counts and checksums.",
  request: { params, query: z.strictObject({ cell: cellSchema }) },
  responses: { 200: textResponse("The rows", "text/plain", exampleBackup), ...problems(404) },
});

const restoreBegin = createRoute({
  method: "post",
  path: "/api/admin/tenants/{tenantId}/restore",
  tags,
  security,
  summary: "Begin to restore a tenant into a cell that does not have it",
  request: {
    params,
    body: {
      required: true,
      content: { "application/json": { schema: z.strictObject({ cell: cellSchema, name: nameSchema, version: z.int().min(0) }) } },
    },
  },
  responses: { 201: response("Send the rows, then finish", z.strictObject({ epoch: z.int() })), ...problems(404, 409) },
});

const restoreRows = createRoute({
  method: "post",
  path: "/api/admin/tenants/{tenantId}/restore/rows",
  tags,
  security,
  summary: "Load whole rows of one table, as in the backup",
  request: {
    params,
    query: z.strictObject({
      cell: cellSchema,
      epoch: epochSchema,
      table: z.string().max(63).describe("The table of the rows"),
      columns: z.string().max(4_000).describe("Their columns, comma-separated"),
    }),
    body: { required: true, content: { "application/octet-stream": { schema: z.string().openapi({ format: "binary" }) } } },
  },
  responses: { 200: response("The rows are loaded", z.strictObject({})), ...problems(404, 409, 413) },
});

const nameInDatabase = z.string().max(63);
const sequenceSchema = z.strictObject({
  sequence: nameInDatabase.openapi({ example: "audit_logs_seq_seq" }),
  lastValue: z.string().max(20).openapi({ example: "105" }),
  isCalled: z.boolean(),
});

const endSchema = z.strictObject({
  cell: cellSchema,
  epoch: z.int().min(1),
  sequences: z.array(sequenceSchema),
  digest: z.strictObject({
    version: z.int(),
    snapshot: z.string().max(20_000).openapi({ example: "1021:1021:" }),
    tables: z.array(
      z.strictObject({
        table: nameInDatabase.openapi({ example: "customers" }),
        rows: z.int(),
        checksum: z.string().max(200).openapi({ example: "5d41402abc4b2a76b9719d911017c592" }),
      }),
    ),
    sequences: z.array(sequenceSchema),
  }),
});

const restoreFinish = createRoute({
  method: "post",
  path: "/api/admin/tenants/{tenantId}/restore/finish",
  tags,
  security,
  summary: "Compare what was restored with the backup's counts and checksums, verify the audit trail, and serve the tenant",
  request: { params, body: { required: true, content: { "application/json": { schema: endSchema } } } },
  responses: {
    200: response("The tenant is served", z.strictObject({ tenantId: tenantIdSchema, rows: z.int(), auditEntries: z.int() })),
    ...problems(404, 409),
  },
});

/** Backups of tenants: only for the operator. */
export function registerBackups(app: OpenAPIHono<GatewayEnv>, { db, cells, changed, log }: Services): void {
  async function placeOf(tenantId: string, cell: string, epoch = 0): Promise<Place> {
    const place = (await tenants.places(db, tenantId)).find((one) => one.cell === cell);
    if (!place) throw notFound("Tenant");
    return { partition: place, tenantId, epoch };
  }

  app.openapi(backup, async (c) => {
    requireOperator(c);
    const { tenantId } = c.req.valid("param");
    const rows = await rowsOf(cells, await placeOf(tenantId, c.req.valid("query").cell), { digest: "true" });
    const { outgoing } = c.env;
    const sent = sendStream(outgoing, 200, { "content-type": "text/plain; charset=utf-8" }, rows).catch((error) => {
      // An incomplete backup must not look complete.
      const cut = abortSent(outgoing);
      if (cut) return cut;
      throw error;
    });
    // The stream has been sent already: no schema describes its response.
    return (await sent) as never;
  });

  app.openapi(restoreBegin, async (c) => {
    requireOperator(c);
    const { tenantId } = c.req.valid("param");
    const { cell, name, version } = c.req.valid("json");
    if (await moves.isRunning(db, tenantId)) throw new Problem("CONFLICT", `${tenantId} is being moved`);
    await change(db, async (tx) => {
      if (!(await tenants.find(tx, tenantId))) await tenants.save(tx, { tenantId, name });
      await tenants.place(tx, tenantId, cell);
    });
    const epoch = await moves.nextEpoch(db);
    await step(cells, await placeOf(tenantId, cell, epoch), "arrive", { version });
    return c.json({ epoch }, 201);
  });

  app.openapi(restoreRows, async (c) => {
    requireOperator(c);
    const { tenantId } = c.req.valid("param");
    const { cell, epoch, table, columns } = c.req.valid("query");
    const rows = Buffer.from(await c.req.arrayBuffer());
    await load(cells, await placeOf(tenantId, cell, epoch), { table, columns: columns.split(","), mode: "copy", rows });
    return c.json({}, 200);
  });

  app.openapi(restoreFinish, async (c) => {
    requireOperator(c);
    const startedAtMs = performance.now();
    const { tenantId } = c.req.valid("param");
    const { cell, epoch, sequences, digest: expected } = c.req.valid("json");
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
    return c.json({ tenantId, rows, auditEntries: trail.checked }, 200);
  });
}
