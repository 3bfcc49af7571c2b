import type { Tenant } from "@cell/postgres";
import * as pipelines from "./repository.ts";

interface Known {
  pipelineIds: readonly string[];
  /** Includes removed ones: opportunities have been in them. */
  stages: readonly string[];
}

/** What each tenant is known to have. Pipelines and stages are never deleted, so that the cache never becomes wrong. */
const cache = new WeakMap<Tenant, Promise<Known>>();

/** The ids of a tenant's pipelines; read again if one of `asked` is not cached. */
export function knownPipelines(tenant: Tenant, asked: readonly string[]): Promise<readonly string[]> {
  return knownOf(tenant, "pipelineIds", asked);
}

/** The stages of all of a tenant's pipelines; read again if one of `asked` is not cached. */
export function knownStages(tenant: Tenant, asked: readonly string[]): Promise<readonly string[]> {
  return knownOf(tenant, "stages", asked);
}

async function knownOf(tenant: Tenant, kind: keyof Known, asked: readonly string[]): Promise<readonly string[]> {
  const before = cache.get(tenant);
  if (before) {
    const values = (await before)[kind];
    if (asked.every((value) => values.includes(value))) return values;
  }
  return (await read(tenant))[kind];
}

async function read(tenant: Tenant): Promise<Known> {
  const reading = pipelines.findKnown(tenant.reader());
  cache.set(tenant, reading);
  try {
    return await reading;
  } catch (error) {
    if (cache.get(tenant) === reading) cache.delete(tenant);
    throw error;
  }
}
