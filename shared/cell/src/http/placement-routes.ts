import { abortSent, newRequestId, problemResponse, sendStream, toProblem } from "@cell/http";
import { type BringMode, databaseProblem, loadModes, Placement, type SequenceState } from "@cell/postgres";
import { badField } from "@cell/problem";
import type { Context } from "hono";
import { z } from "zod";
import { verifyTrail } from "../audit/verify.ts";
import type { CellApp, CellOptions } from "../cell-types.ts";

type Step = (tenantId: string, epoch: number, c: Context) => Promise<unknown>;

/** More than the parts that the gateway sends, whose last row may be long. */
const partAtMost = 64 * 1024 * 1024;

const attachBody = z.strictObject({ version: z.int().min(0) });
const completeBody = z.strictObject({
  sequences: z.array(z.strictObject({ sequence: z.string(), lastValue: z.string().regex(/^-?\d{1,19}$/), isCalled: z.boolean() })),
});

/**
 * The steps of moving a tenant to or from this partition, for the gateway only. Each names the move's number as `epoch`: a step of an
 * earlier move is rejected with CONFLICT. `operator` returns the assertion's tenant, or throws.
 */
export function placementRoutes(app: CellApp, options: CellOptions, operator: (c: Context) => string): void {
  const { registry, log } = options;
  const placement = new Placement(registry);
  const path = (step: string) => `/internal/tenants/:tenantId/${step}`;

  const response = async (c: Context, work: (tenantId: string) => Promise<Response>) => {
    try {
      return await work(operator(c));
    } catch (error) {
      const problem = toProblem(databaseProblem(error));
      log.warn({ step: c.req.path, code: problem.code, err: error }, "a step of a move failed");
      const cut = abortSent(c.env.outgoing);
      if (cut) return cut;
      return problemResponse(problem, c.req.header("x-request-id") ?? newRequestId());
    }
  };
  const step = (name: string, work: Step) =>
    app.post(path(name), (c) =>
      response(c, async (tenantId) => {
        const startedAt = performance.now();
        const epoch = epochOf(c);
        const done = await work(tenantId, epoch, c);
        if (name !== "rows") log.info({ tenantId, epoch, step: name, ms: Math.round(performance.now() - startedAt) }, "a tenant moves");
        return c.json((done ?? {}) as object);
      }),
    );
  const inspect = (name: string, work: (tenantId: string, since: string | undefined) => Promise<object>) =>
    app.get(path(name), (c) => response(c, async (tenantId) => c.json(await work(tenantId, sinceOf(c)))));

  inspect("placement", (tenantId) => placement.inspect(tenantId));
  inspect("digest", (tenantId, since) => placement.digest(tenantId, since));
  inspect("trail", async (tenantId) => verifyTrail((await registry.refresh(tenantId)).reader(), options.sealWitness));
  app.get(path("rows"), (c) =>
    response(c, (tenantId) => {
      const { tables, digest } = c.req.query();
      const rows = placement.rows(tenantId, { since: sinceOf(c), tables: tables?.split(","), digest: digest === "true" });
      return sendStream(c.env.outgoing, 200, { "content-type": "text/plain; charset=utf-8", "cache-control": "no-store" }, rows);
    }),
  );
  step("pause", (tenantId, epoch) => placement.pause(tenantId, epoch));
  step("resume", async (tenantId, epoch) => {
    await placement.resume(tenantId, epoch);
    options.resumed(tenantId);
  });
  step("leave", (tenantId, epoch) => placement.detach(tenantId, epoch));
  step("arrive", async (tenantId, epoch, c) => {
    await placement.attach(tenantId, epoch, attachBody.parse(await c.req.json()).version);
  });
  step("rows", async (tenantId, epoch, c) => {
    await placement.load(tenantId, epoch, await partOf(c));
  });
  step("index", (tenantId, epoch) => placement.index(tenantId, epoch));
  step("complete", async (tenantId, epoch, c) => {
    const { sequences } = completeBody.parse(await c.req.json());
    await placement.complete(tenantId, epoch, sequences as SequenceState[]);
    await options.adoptTrail(tenantId);
  });
  step("settle", (tenantId) => placement.finalize(tenantId));
  step("discard", (tenantId, epoch) => placement.discard(tenantId, epoch));
}

function sinceOf(c: Context): string | undefined {
  const since = c.req.query("since");
  if (since !== undefined && !/^\d{1,20}$/.test(since)) throw badField("since", "INVALID_FORMAT", "a transaction's number");
  return since;
}

function epochOf(c: Context): number {
  const epoch = Number(c.req.query("epoch"));
  if (!Number.isSafeInteger(epoch) || epoch < 1) throw badField("epoch", "INVALID_FORMAT", "the move's number");
  return epoch;
}

async function partOf(c: Context) {
  const { table = "", columns = "", mode = "" } = c.req.query();
  if (!(loadModes as readonly string[]).includes(mode)) throw badField("mode", "INVALID_ENUM", loadModes.join(", "));
  const rows = Buffer.from(await c.req.arrayBuffer());
  if (rows.length > partAtMost) throw badField("body", "TOO_LONG", `at most ${partAtMost} bytes`);
  return { table, columns: columns.split(","), mode: mode as BringMode, rows };
}
