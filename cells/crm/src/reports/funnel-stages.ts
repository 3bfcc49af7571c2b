import type { StageRow } from "./queries/repository.ts";

/** A stage as in a report. */
export function shownStage({ stage, name }: StageRow, index: number) {
  return { stageId: stage, name, order: index + 1 };
}

/** The open stages in order, then removed ones that the report still contains. */
export function openStages(stages: readonly StageRow[], spokenOf: Iterable<string>): StageRow[] {
  const known = new Set(spokenOf);
  return stages.filter(({ stage, type, active }) => type === "open" && (active || known.has(stage)));
}

/** The stages of a funnel: the open ones in order, the won one last. */
export function funnelStages(stages: readonly StageRow[]): StageRow[] {
  const live = stages.filter(({ active }) => active);
  return [...live.filter(({ type }) => type === "open"), ...live.filter(({ type }) => type === "won")];
}

/** Whether a stage is `first` or comes after it: won is last, and lost is not part of the order. */
export function isFrom(stage: StageRow, first: StageRow): boolean {
  if (stage.type === "lost") return false;
  if (stage.type !== first.type) return stage.type === "won";
  return stage.position >= first.position;
}
