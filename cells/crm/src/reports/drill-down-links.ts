import type { Question } from "./queries/opportunity-states.ts";
import type { StageRow } from "./queries/repository.ts";
import type { Window } from "./time-window.ts";

export interface Filter {
  /** Leaves out the condition on the pipeline. */
  anyPipeline?: boolean;
  status?: string;
  stage?: string;
  ownerId?: string | undefined;
  /** In the list's own syntax. */
  filter?: readonly string[];
  /** The list's parameters about the stage history, in the pipeline. */
  history?: Readonly<Record<string, string | undefined>> | undefined;
}

export type Link = (filter: Filter) => string;

/** Makes links to lists with exactly the records that a report counted. */
export function linksTo(question: Question): Link {
  const { pipelineId, asOf, currency } = question;
  return ({ anyPipeline = false, status, stage, ownerId = question.ownerId ?? undefined, filter = [], history }) => {
    const conditions = [...filter, ...(currency === null ? [] : [`currency[eq]:${currency}`])];
    const parameters = {
      pipelineId: anyPipeline ? undefined : pipelineId,
      asOf,
      ownerId,
      status,
      stage,
      ...(history ? { enteredPipelineId: pipelineId, ...history } : {}),
      filter: conditions.length > 0 ? conditions.join(" and ") : undefined,
    };
    const given = Object.entries(parameters).filter((entry): entry is [string, string] => entry[1] !== undefined);
    return `/opportunities?${new URLSearchParams(given)}`;
  };
}

/** A condition that a time or date is within a window. */
export function within(field: string, { from, to }: Window): string[] {
  return [`${field}[gte]:${from}`, `${field}[lt]:${to}`];
}

/** Comma-separated stages. */
export function slugs(stages: readonly StageRow[]): string {
  return stages.map(({ stage }) => stage).join(",");
}
