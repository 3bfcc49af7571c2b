import { notFound } from "@cell/problem";
import { z } from "zod";
import type { Services } from "../services.ts";
import type { AdminRoutes } from "./admin-routes.ts";
import { docsPage } from "./docs.ts";
import { adminEndpoint } from "./endpoint.ts";
import { cellSchema } from "./schemas.ts";

const cellListSchema = z
  .strictObject({
    data: z.array(
      z.strictObject({
        cell: z.string().meta({ example: "crm" }),
        partitions: z.array(
          z.strictObject({
            partition: z.string().meta({ example: "crm-1" }),
            url: z.string().meta({ example: "http://127.0.0.1:8001" }),
            tenants: z.int().describe("Number of tenants placed here"),
            healthy: z.boolean(),
            problems: z.array(z.string()).describe("Problems while it serves, one sentence each").meta({ example: [] }),
            openDoors: z
              .int()
              .describe("Number of functions and views that the tenants' database logins may use although they reach beyond their bounds")
              .meta({ example: 0 }),
          }),
        ),
      }),
    ),
  })
  .meta({ id: "CellList" });

const listCells = adminEndpoint({
  method: "get",
  path: "/api/admin/cells",
  tag: "Cells",
  callers: "operator",
  summary: "List the cells, their partitions and their state",
  status: 200,
  response: { description: "All cells", schema: cellListSchema },
});

const cellDocs = adminEndpoint({
  method: "get",
  path: "/api/admin/cells/{cell}/docs",
  tag: "Cells",
  callers: "all",
  summary: "The page of a cell's document",
  params: z.object({ cell: cellSchema }),
  status: 200,
  response: { description: "The page", schema: z.string(), type: "text/html" },
  errorResponses: [404],
});

export function registerCells(routes: AdminRoutes, { config, db, upstreams }: Services): void {
  routes.respond(listCells, async () => {
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
    return { data };
  });

  routes.stream(cellDocs, async ({ params: { cell }, context }) => {
    if (!config.cells.some(({ name }) => name === cell)) throw notFound("Service");
    return docsPage(context, cell, [{ title: cell, url: `/openapi/${cell}.json` }]);
  });
}
