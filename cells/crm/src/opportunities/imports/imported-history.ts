import { instantOf } from "@cell/cell";
import { badFields, type FieldProblem } from "@cell/problem";
import type { Pipeline, Stage } from "../../pipelines/schema.ts";
import type { ImportedStage } from "../domain.ts";

/** What an import gives of an opportunity's history; times are instants or days of the tenant's calendar. */
export interface HistoryInput {
  stage?: string | undefined;
  stageHistory?: readonly { stage: string; enteredAt: string }[] | undefined;
  createdAt?: string | undefined;
  closedAt?: string | null | undefined;
}

const isDay = (time: string) => time.length === 10;

/** The more precise of two times that agree, where a day agrees with any time of it; undefined if they differ. */
export function sameTime(one: string, other: string, timezone: string): string | undefined {
  const [first, second] = [instantOf(one, timezone), instantOf(other, timezone)];
  if (isDay(one) === isDay(other)) return first === second ? first : undefined;
  const [day, instant] = isDay(one) ? [one, second] : [other, first];
  const next = new Date(Date.parse(day) + 24 * 60 * 60 * 1000).toISOString().slice(0, 10);
  return instant >= instantOf(day, timezone) && instant < instantOf(next, timezone) ? instant : undefined;
}

type GivenTime = { stage: string; enteredAt: string }[];

/** The stages of an opportunity without a stage history: its stage, preceded by the first stage if it was closed later than created. */
function impliedBy({ stage, createdAt, closedAt }: HistoryInput, { stages }: Pipeline, now: string): GivenTime {
  const first = stages.find(({ type }) => type === "open")?.stage ?? "";
  const current = stage ?? first;
  const isOpen = stages.find((known) => known.stage === current)?.type === "open";
  if (isOpen || !closedAt) return [{ stage: current, enteredAt: createdAt ?? now }];
  const closed = { stage: current, enteredAt: closedAt };
  return createdAt === undefined || createdAt === closedAt ? [closed] : [{ stage: first, enteredAt: createdAt }, closed];
}

/** The stages of an opportunity, oldest first, from an import's input. Throws BAD_REQUEST with everything that is inconsistent. */
export function historyFrom(
  given: HistoryInput,
  pipeline: Pipeline,
  { timezone, now }: { timezone: string; now: string },
): [ImportedStage, ...ImportedStage[]] {
  const wrong: FieldProblem[] = [];
  const refuse = (path: string, message: string, code = "INVALID_FORMAT") => wrong.push({ path, code, message });
  const stageOf = (path: string, name: string): Stage | undefined => {
    const found = pipeline.stages.find(({ stage }) => stage === name);
    if (!found) refuse(path, `must be one of ${pipeline.stages.map(({ stage }) => stage).join(", ")}`, "INVALID_ENUM");
    return found;
  };
  const stages = given.stageHistory && given.stageHistory.length > 0 ? given.stageHistory : impliedBy(given, pipeline, now);
  const history = stages.flatMap(({ stage: name, enteredAt }) => {
    const stage = stageOf(given.stageHistory ? "stageHistory" : "stage", name);
    return stage ? { stage, enteredAt: instantOf(enteredAt, timezone), given: enteredAt } : [];
  });
  const [first, last] = [history[0], history.at(-1)];
  if (wrong.length > 0 || !first || !last) throw badFields(wrong);
  if (given.stage !== undefined && given.stage !== last.stage.stage)
    refuse("stageHistory", `ends in ${last.stage.stage}, not in the stage ${given.stage}`);
  if (given.createdAt !== undefined) {
    const begun = sameTime(first.given, given.createdAt, timezone);
    if (begun === undefined) refuse("createdAt", "differs from the time when its first stage was entered");
    else first.enteredAt = begun;
  }
  if (given.closedAt) {
    const closed = last.stage.type === "open" ? undefined : sameTime(last.given, given.closedAt, timezone);
    if (closed === undefined)
      refuse(
        "closedAt",
        last.stage.type === "open" ? "is only for won and lost ones" : "differs from the time when its last stage was entered",
      );
    else last.enteredAt = closed;
  }
  history.forEach(({ stage, enteredAt }, index) => {
    const before = history[index - 1];
    if (before && before.enteredAt > enteredAt)
      refuse("stageHistory", `${stage.stage} is entered before ${before.stage.stage}, which precedes it`);
    if (before && before.stage === stage) refuse("stageHistory", `${stage.stage} follows itself`);
  });
  if (last.enteredAt > now) refuse(given.stageHistory ? "stageHistory" : "createdAt", "is in the future");
  if (wrong.length > 0) throw badFields(wrong);
  return [first, ...history.slice(1)];
}
