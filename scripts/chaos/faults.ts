import type { Fault } from "./fault.ts";
import { databaseFaults } from "./faults-database.ts";
import { networkFaults } from "./faults-network.ts";
import { processFaults } from "./faults-process.ts";

export const faults: readonly Fault[] = [...processFaults, ...networkFaults, ...databaseFaults];
