import { ListRunner } from "@cell/cell";
import { nextVersion, type Parameters, statement, type TenantDb, type TenantTx, valuesOf } from "@cell/postgres";
import { sql } from "kysely";
import { db } from "../tables.ts";
import { type Pipeline, pipeline, type Stage } from "./schema.ts";

const columns = ["pipelineId", "name", "isDefault", "createdAt", "updatedAt", "version"] as const;

const stages = () =>
  db
    .selectFrom("pipelineStages")
    .select(
      sql<
        Stage[]
      >`json_agg(json_build_object('stage', stage, 'name', name, 'type', type, 'probability', probability::float8) order by position)`.as(
        "stages",
      ),
    )
    .whereRef("pipelineStages.pipelineId", "=", sql.ref("pipelines.pipelineId"))
    .where(sql<boolean>`active`);

const all = () => db.selectFrom("pipelines").select(columns).select(stages().as("stages")).$castTo<Pipeline>();

const byId = statement((p: Parameters<{ pipelineId: string }>) => all().where("pipelineId", "=", p.pipelineId));

const everyOne = statement((_: Parameters<object>) => all().orderBy("createdAt").orderBy("pipelineId"));

const theDefault = statement((_: Parameters<object>) => all().where(sql<boolean>`is_default`));

const insertRow = statement((p: Parameters<Pipeline>) => db.insertInto("pipelines").values(valuesOf(p, columns)));

const updateRow = statement((p: Parameters<Pipeline & { read: number }>) =>
  db
    .updateTable("pipelines")
    .set(valuesOf(p, ["name", "isDefault", "updatedAt", "version"]))
    .where("pipelineId", "=", p.pipelineId)
    .where("version", "=", p.read),
);

interface StageRow extends Stage {
  position: number;
}

const given = (p: Parameters<{ stages: string }>) =>
  db.selectFrom(
    sql<StageRow>`json_to_recordset(${p.stages}::json)`.as<"given">(
      sql`given(stage text, name text, type text, probability numeric, position int)`,
    ),
  );

const stagesKnown = (p: Parameters<{ pipelineId: string }>) =>
  db.selectFrom("pipelineStages as known").where("known.pipelineId", "=", p.pipelineId);
const count = sql<number>`count(*)`.as("count");
const isKnown = (p: Parameters<{ pipelineId: string }>) =>
  sql<boolean>`exists (${stagesKnown(p).select(sql`1`.as("one")).where(sql<boolean>`known.stage = given.stage`)})`;

const writeStages = statement((p: Parameters<{ pipelineId: string; stages: string }>) =>
  db
    .insertInto("pipelineStages")
    .columns(["pipelineId", "stage", "name", "type", "probability", "position", "active", "number"])
    .expression(
      given(p).select([
        sql<string>`${p.pipelineId}::uuid`.as("pipelineId"),
        "stage",
        "name",
        "type",
        "probability",
        "position",
        sql<boolean>`true`.as("active"),
        // Existing stages keep their number: the conflict clause does not set it.
        sql<number>`(${stagesKnown(p).select(count)}) + (count(*) filter (where not (${isKnown(p)})) over (order by position)) - 1`.as(
          "number",
        ),
      ]),
    )
    .onConflict((conflict) =>
      conflict.columns(["pipelineId", "stage"]).doUpdateSet((eb) => ({
        name: eb.ref("excluded.name"),
        type: eb.ref("excluded.type"),
        probability: eb.ref("excluded.probability"),
        position: eb.ref("excluded.position"),
        active: true,
      })),
    ),
);

const removeOthers = statement((p: Parameters<{ pipelineId: string; stages: string }>) =>
  db
    .updateTable("pipelineStages")
    .set({ active: false })
    .where("pipelineId", "=", p.pipelineId)
    .where(sql<boolean>`active`)
    .where("stage", "not in", given(p).select("given.stage")),
);

const endDefault = statement((p: Parameters<{ pipelineId: string; now: string }>) =>
  db
    .updateTable("pipelines")
    .set({ isDefault: false, updatedAt: p.now, version: nextVersion })
    .where(sql<boolean>`is_default`)
    .where("pipelineId", "!=", p.pipelineId)
    .returning(["pipelineId", "name", "version"]),
);

const occupied = statement((p: Parameters<{ pipelineId: string; stages: string[] }>) =>
  db
    .selectFrom("opportunities")
    .select("stage")
    .distinct()
    .where("pipelineId", "=", p.pipelineId)
    .where(sql<boolean>`stage = any(${p.stages})`)
    .where("deletedAt", "is", null)
    .orderBy("stage"),
);

const known = statement((_: Parameters<object>) =>
  db.selectNoFrom([
    sql<
      string[]
    >`array(${db.selectFrom("pipelines").select(sql`pipeline_id::text`.as("id")).orderBy("createdAt").orderBy("pipelineId")})`.as(
      "pipelineIds",
    ),
    sql<string[]>`array(${db
      .selectFrom("pipelineStages")
      .select("stage")
      .groupBy("stage")
      .orderBy(sql`min(position)`)
      .orderBy("stage")})`.as("stages"),
  ]),
);

export function find(tenant: TenantDb, pipelineId: string): Promise<Pipeline | undefined> {
  return tenant.first(byId, { pipelineId });
}

export function findAll(tenant: TenantDb): Promise<Pipeline[]> {
  return tenant.query(everyOne, {});
}

/** The ids of all pipelines, and all their stages, including removed ones. */
export async function findKnown(tenant: TenantDb): Promise<{ pipelineIds: string[]; stages: string[] }> {
  const [row] = await tenant.query(known, {});
  if (!row) throw new Error("a statement without a row");
  return row;
}

/** The tenant's default pipeline. Throws an Error if it is missing: the schema is damaged. */
export async function findDefault(tenant: TenantDb): Promise<Pipeline> {
  const found = await tenant.first(theDefault, {});
  if (!found) throw new Error(`the default pipeline of ${tenant.tenantId} is missing`);
  return found;
}

export function insert(tx: TenantTx, row: Pipeline) {
  return [tx.change(insertRow, row), tx.change(writeStages, stageValues(row))] as const;
}

/** Updates a pipeline that was read at version `read`; missing stages are removed. */
export function update(tx: TenantTx, row: Pipeline, read: number) {
  const values = stageValues(row);
  return [
    tx.change(updateRow, { ...row, read }, "pipeline changed"),
    tx.change(writeStages, values),
    tx.change(removeOthers, values),
  ] as const;
}

function stageValues({ pipelineId, stages: list }: Pipeline) {
  return { pipelineId, stages: JSON.stringify(list.map((stage, index) => ({ ...stage, position: index + 1 }))) };
}

/** Makes other pipelines non-default immediately; resolves to those that were default. Needs `tx.begin()`. */
export function endOthersDefault(tx: TenantTx, { pipelineId }: Pipeline, now: string) {
  return tx.run(endDefault, { pipelineId, now });
}

/** Those of the stages that live opportunities are in. */
export async function occupiedStages(tenant: TenantDb, pipelineId: string, among: string[]): Promise<string[]> {
  return (await tenant.query(occupied, { pipelineId, stages: among })).map(({ stage }) => stage);
}

export const lists = new ListRunner<Pipeline>({
  resource: pipeline,
  select: all,
  id: "pipelineId",
  defaultSort: "createdAt",
  visibleTo: () => ({ cacheKey: "everyone's", values: [], sql: () => sql<boolean>`true` }),
  fields: {
    pipelineId: { type: "uuid" },
    name: { type: "text", sort: true },
    isDefault: { type: "boolean" },
    createdAt: { type: "time", sort: true },
    updatedAt: { type: "time", sort: true },
  },
});
