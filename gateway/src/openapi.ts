import { writeFileSync } from "node:fs";
import { createLogger } from "@cell/http";
import { createApp } from "./app.ts";
import { readConfig } from "./config.ts";
import { gatewayDocument } from "./docs.ts";
import { createServices } from "./services.ts";

// The document depends on no setting; these only let the gateway be put together. It is not started.
const config = readConfig({ DATABASE_URL: "postgres://none", ASSERTION_KEYS: `a:${"A".repeat(43)}`, CELLS: "crm=http://127.0.0.1:1" });
const services = createServices(config, createLogger("openapi", "silent"));
const app = createApp(services, () => false);
writeFileSync(new URL("../../openapi/gateway.json", import.meta.url), `${JSON.stringify(gatewayDocument(app), null, 2)}\n`);
await services.close();
