import { mkdirSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { createClient } from "@hey-api/openapi-ts";
import { crmDocument } from "../cells/crm/src/openapi.ts";
import { ownDocument } from "../gateway/src/openapi.ts";

/** Writes the published documents and the CRM's typed client. CI compares them with the committed ones. */
const folder = fileURLToPath(new URL("../openapi/", import.meta.url));
mkdirSync(folder, { recursive: true });
writeFileSync(`${folder}crm.json`, `${JSON.stringify(await crmDocument(), null, 2)}\n`);
writeFileSync(`${folder}gateway.json`, `${JSON.stringify(await ownDocument(), null, 2)}\n`);
await createClient({
  input: `${folder}crm.json`,
  output: { path: `${folder}client`, importFileExtension: ".ts" },
  plugins: ["@hey-api/client-fetch", "@hey-api/typescript", "@hey-api/sdk"],
  logs: { level: "error" },
});
