import type { Workload } from "./harness/bench.ts";
import { peers } from "./workloads/peers.ts";
import { gatewayHop } from "./workloads/w01-gateway-hop.ts";
import { getById } from "./workloads/w02-get-by-id.ts";
import { list } from "./workloads/w03-list.ts";
import { create } from "./workloads/w04-create.ts";
import { replay } from "./workloads/w05-replay.ts";
import { update } from "./workloads/w06-update.ts";
import { importRows } from "./workloads/w07-import.ts";
import { exportRows } from "./workloads/w08-export.ts";
import { search } from "./workloads/w09-search.ts";
import { funnel } from "./workloads/w10-funnel.ts";
import { deepPage } from "./workloads/w11-deep-page.ts";
import { manyTenants } from "./workloads/w12-many-tenants.ts";
import { migrations } from "./workloads/w13-migrations.ts";
import { noisyNeighbour } from "./workloads/w14-noisy-neighbour.ts";
import { coldStart } from "./workloads/w15-cold-start.ts";

/** All workloads in order; `peers` downloads other products and only runs if it is named. */
export const workloads: readonly Workload[] = [
  gatewayHop,
  getById,
  list,
  create,
  replay,
  update,
  importRows,
  exportRows,
  search,
  funnel,
  deepPage,
  manyTenants,
  migrations,
  noisyNeighbour,
  coldStart,
  peers,
];
