import type { ColumnType } from "kysely";
import type { StageType } from "./schema.ts";

export interface PipelinesTable {
  pipelineId: string;
  name: string;
  /** True for exactly one. */
  isDefault: boolean;
  createdAt: string;
  updatedAt: string;
  version: number;
}

export interface PipelineStagesTable {
  pipelineId: string;
  /** A slug, unique in its pipeline. */
  stage: string;
  name: string;
  type: StageType;
  /** A decimal: read as a text. */
  probability: ColumnType<string, string | number, string | number>;
  /** Its place in the order, from 1. */
  position: number;
  /** False for a stage that was removed: histories still speak of it. */
  active: boolean;
  /** Its bit in a mask of stages, from 0: numbered in the pipeline for good. */
  number: number;
}
