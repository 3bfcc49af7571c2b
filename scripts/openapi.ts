import { writeFileSync } from "node:fs";
import { crmDocument } from "../cells/crm/src/openapi.ts";

/** Writes the published documents. CI compares them with what is committed. */
writeFileSync(new URL("../openapi/crm.json", import.meta.url), `${JSON.stringify(crmDocument(), null, 2)}\n`);
