import { benchSettings } from "../bench/config.ts";
import { crmSettings } from "../cells/crm/src/config.ts";
import { cliSettings } from "../gateway/src/cli/config.ts";
import { gatewaySettings } from "../gateway/src/config.ts";
import type { Settings } from "../shared/http/src/env.ts";
import { fuzzSettings } from "../shared/http/src/testing/config.ts";
import { startSettings } from "./start/settings.ts";

/** Every environment variable by program; migrations read a part of their program's. */
export const programSettings: readonly { program: string; settings: Settings }[] = [
  { program: "npm start", settings: startSettings },
  { program: "gateway", settings: gatewaySettings },
  { program: "CRM cell", settings: crmSettings },
  { program: "crm", settings: cliSettings },
  { program: "npm run bench", settings: benchSettings },
  { program: "npm test", settings: fuzzSettings },
];
