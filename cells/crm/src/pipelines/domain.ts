import { badFields, type FieldProblem } from "@cell/problem";
import type { Stage, StageInput } from "./schema.ts";

const fixedProbability = { won: 100, lost: 0 } as const;

/** The fixed probability of opportunities of this type; undefined for open ones. */
export function fixedProbabilityOf(type: Stage["type"]): number | undefined {
  return type === "open" ? undefined : fixedProbability[type];
}

/** The stages of a pipeline from a caller's input, in order. Throws BAD_REQUEST if they do not make a funnel. */
export function stagesOf(given: readonly StageInput[]): Stage[] {
  const wrong: FieldProblem[] = [];
  const seen = new Set<string>();
  const stages = given.map(({ stage, name = stage, type, probability }, index) => {
    if (seen.has(stage)) wrong.push({ path: `stages.${index}.stage`, code: "INVALID_FORMAT", message: `"${stage}" occurs twice` });
    seen.add(stage);
    const known = fixedProbabilityOf(type) ?? probability;
    if (known === undefined) wrong.push({ path: `stages.${index}.probability`, code: "REQUIRED", message: "is required" });
    return { stage, name, type, probability: known ?? 0 };
  });
  const count = (type: Stage["type"]) => stages.filter((stage) => stage.type === type).length;
  for (const type of ["won", "lost"] as const) {
    if (count(type) !== 1)
      wrong.push({ path: "stages", code: "INVALID_FORMAT", message: `must hold exactly one stage of the type ${type}` });
  }
  if (count("open") === 0) wrong.push({ path: "stages", code: "INVALID_FORMAT", message: "must hold at least one open stage" });
  if (wrong.length > 0) throw badFields(wrong);
  return stages;
}

/** The stages that opportunities cannot stay in after a change: they were removed or changed their type. */
export function endedStages(before: readonly Stage[], after: readonly Stage[]): string[] {
  const stored = new Set(after.map(({ stage, type }) => `${type} ${stage}`));
  return before.filter(({ stage, type }) => !stored.has(`${type} ${stage}`)).map(({ stage }) => stage);
}
