import { notFound } from "@cell/problem";
import { createRoute, type OpenAPIHono, z } from "@hono/zod-openapi";
import type { Services } from "../services.ts";
import { type GatewayEnv, requireOperator } from "./access.ts";
import { docsPage } from "./docs.ts";
import { cellSchema, problems, response, security, textResponse } from "./openapi.ts";

const cellListSchema = z
  .strictObject({
    data: z.array(
      z.strictObject({
        cell: z.string().openapi({ example: "crm" }),
        partitions: z.array(
          z.strictObject({
            partition: z.string().openapi({ example: "crm-1" }),
            url: z.string().openapi({ example: "http://127.0.0.1:8001" }),
            tenants: z.int().describe("Number of tenants placed here"),
            healthy: z.boolean(),
            problems: z.array(z.string()).describe("Problems while it serves, one sentence each").openapi({ example: [] }),
            openDoors: z
              .int()
              .describe("Number of functions and views that the tenants' database logins may use although they reach beyond their bounds")
              .openapi({ example: 0 }),
          }),
        ),
      }),
    ),
  })
  .openapi("CellList");

const tags = ["Cells"];

const listCells = createRoute({
  method: "get",
  path: "/api/admin/cells",
  tags,
  security,
  summary: "List the cells, their partitions and their state",
  responses: { 200: response("All cells", cellListSchema), ...problems() },
});

const cellDocs = createRoute({
  method: "get",
  path: "/api/admin/cells/{cell}/docs",
  tags,
  security,
  summary: "The page of a cell's document",
  request: { params: z.object({ cell: cellSchema }) },
  responses: { 200: textResponse("The page", "text/html"), ...problems(404) },
});

export function registerCells(app: OpenAPIHono<GatewayEnv>, { config, db, upstreams }: Services): void {
  app.openapi(listCells, async (c) => {
    requireOperator(c);
    const rows = await db
      .selectFrom("gateway.partitions as partition")
      .leftJoin("gateway.placements as placement", (join) =>
        join.onRef("placement.cell", "=", "partition.cell").onRef("placement.partition", "=", "partition.partition"),
      )
      .groupBy(["partition.cell", "partition.partition"])
      .select((row) => ["partition.cell", "partition.partition", "partition.url", row.fn.count<number>("placement.tenantId").as("tenants")])
      .orderBy("partition.cell")
      .orderBy("partition.partition")
      .execute();
    const look = async ({ url }: { url: string }) => {
      const [health, state] = await Promise.all([upstreams.healthOf(url), upstreams.stateOf(url)]);
      return { healthy: health === "alive", ...state };
    };
    const partitions = await Promise.all(rows.map(async (row) => ({ ...row, ...(await look(row)) })));
    const data = config.cells.map(({ name }) => ({
      cell: name,
      partitions: partitions.flatMap(({ cell, ...partition }) => (cell === name ? [partition] : [])),
    }));
    return c.json({ data }, 200);
  });

  app.openapi(cellDocs, (c) => {
    const { cell } = c.req.valid("param");
    if (!config.cells.some(({ name }) => name === cell)) throw notFound("Service");
    return docsPage(c, cell, [{ title: cell, url: `/openapi/${cell}.json` }]);
  });
}
