import { customerImport } from "./customers/imports/importer.ts";
import type { Importer } from "./imports/importer.ts";
import { opportunityImport } from "./opportunities/imports/importer.ts";

/** The resources that can be imported. */
export const importers: readonly Importer[] = [customerImport, opportunityImport];
