import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { programSettings } from "./program-settings.ts";
import { readPages, root, rowsOf } from "./testing/pages.ts";

const page = readPages().find(({ path }) => path === "docs/operations/limits.md");
const rows = page ? rowsOf(page) : [];

/** Constants of the code by the beginning of the row that tells them, and by their file; `object.property` for one of several. */
const constants: Readonly<Record<string, Readonly<Record<string, readonly string[]>>>> = {
  "header lines": { "shared/http/src/head.ts": ["headLimits.lines", "headLimits.bytes"] },
  "path and query": { "shared/http/src/head.ts": ["headLimits.targetLength"] },
  "body in JSON": {
    "shared/cell/src/http/handlers.ts": ["mostBodyBytes"],
    "shared/http/src/declaration.ts": ["closedPolicy.bodyLimitBytes"],
  },
  "body of the gateway": { "gateway/src/admin/admin-routes.ts": ["mostBodyBytes"] },
  "JSON: levels": { "shared/http/src/json.ts": ["mostDepth", "mostKeys"] },
  "time to send the head": { "shared/http/src/serve.ts": ["connectionLimits.headersTimeoutMs"] },
  "time to send a whole request": { "shared/cell/src/start-cell.ts": ["requestTimeoutMs"] },
  "idle connection": { "shared/http/src/serve.ts": ["connectionLimits.keepAliveTimeoutMs"] },
  "connections of a process": { "shared/http/src/serve.ts": ["connectionLimits.connections"] },
  "combining marks": { "shared/http/src/text.ts": ["mostMarks"] },
  "the key by which": { "shared/cell/src/schema/fields.ts": ["mostKeyBytes"] },
  "custom fields": { "cells/crm/src/custom-fields.ts": ["mostCustomFields", "mostKeyCharacters", "mostCustomFieldBytes"] },
  "the gateway trusts": { "gateway/src/auth/authenticator.ts": ["accessLifetimeMs", "renewalAgeMs", "errorLifetimeMs"] },
  "assertion of": { "shared/http/src/assertion.ts": ["lifetimeSeconds"] },
  "one tenant's concurrent": { "gateway/src/upstream/bulkhead.ts": ["longestWaitMs"] },
  "retries by the gateway": { "gateway/src/upstream/bulkhead.ts": ["retryShare", "leastRetries"] },
  "circuit breaker": {
    "gateway/src/upstream/circuit-breaker.ts": ["failuresInRow", "windowRequests", "windowMs", "firstPauseMs", "longestPauseMs"],
  },
  "tenant move": { "shared/postgres/src/transfer/placement.ts": ["writersPatienceMs", "lockTimeoutMs"] },
  "`/ready`": { "shared/cell/src/http/operational-routes.ts": ["readyWithinMs"], "cells/crm/src/customer-360/messaging.ts": ["timeoutMs"] },
  "stored response": {
    "shared/cell/src/commands/idempotency.ts": ["retentionMs"],
    "shared/cell/src/commands/command.ts": ["waitMs", "queueTimeoutMs"],
  },
  "attempts of a write": { "shared/cell/src/commands/command.ts": ["maxAttempts", "retryWithinMs"] },
  "response of a write": { "shared/cell/src/commands/shared-responses.ts": ["inlineCharacters"] },
  "measurements of": { "shared/cell/src/commands/storage-quota.ts": ["measuredForMs", "storedPerReceived"] },
  "page size": { "shared/cell/src/lists/list-query.ts": ["pageSizes.most"] },
  "filter:": { "shared/cell/src/lists/filter-syntax.ts": ["filterLimits.conditions", "filterLimits.depth", "filterLimits.values"] },
  total: { "shared/cell/src/lists/list-queries.ts": ["countedAtMost"] },
  "page of a list": { "shared/cell/src/lists/lists.ts": ["pageBytes"] },
  "rows of a page": { "shared/cell/src/lists/lists.ts": ["firstChunk"] },
  "long queries": { "shared/postgres/src/pool/tenant-pool.ts": ["longAtMost"] },
  "a response of": { "shared/cell/src/http/deadline.ts": ["longResponseMs"] },
  "periods of": { "cells/crm/src/reports/time-window.ts": ["maxBuckets"] },
  "bytes of a file": {
    "cells/crm/src/imports/upload.ts": ["mostBytes", "mostJsonBytes", "mostRowBytes"],
    "cells/crm/src/imports/domain.ts": ["mostRows"],
  },
  "rows that are answered": { "cells/crm/src/imports/domain.ts": ["synchronousRows"] },
  "import in JSON": { "shared/http/src/json-elements.ts": ["restBytesAtMost"], "cells/crm/src/imports/domain.ts": ["mostColumns"] },
  "file: columns": { "cells/crm/src/imports/domain.ts": ["mostColumns", "mostHeading"] },
  "errors of one row": { "cells/crm/src/imports/domain.ts": ["problemsOfRow", "mostMessage", "reportedProblems"] },
  "failed rows stored": { "cells/crm/src/imports/failed-rows.ts": ["failedBytesAtMost", "failedRowBytesAtMost"] },
  "CSV files being sent": { "shared/cell/src/csv/file-limits.ts": ["fileLimits.perTenant"] },
  "a client that reads": { "shared/cell/src/csv/file-limits.ts": ["fileLimits.bytesPerSecond", "fileLimits.windowMs"] },
  "beginning of such": { "shared/cell/src/csv/file-limits.ts": ["headAfterMs"] },
  "a step of it": {
    "shared/cell/src/audit/trail-reader.ts": ["entriesPerRead", "storedBytesPerRead", "sealsPerRead", "leavesPerRead"],
    "shared/cell/src/workers/time-slices.ts": ["sliceMs"],
  },
  "entries without": { "shared/cell/src/audit/verify.ts": ["unsealedAfterMs"] },
  "connections of a cell": { "shared/cell/src/cell-registry.ts": ["waitMs"] },
  "a connection:": { "shared/cell/src/cell-registry.ts": ["idleMs", "maxAgeMs", "preparedStatements", "tenantsPerConnection"] },
  "webhooks of": { "shared/cell/src/webhooks/routes.ts": ["mostWebhooks"] },
  "deliveries at once": { "shared/cell/src/webhooks/sender.ts": ["mostAtOnce", "mostToOne", "mostToFailing"] },
  "changes of one replay": { "shared/cell/src/webhooks/delivery-routes.ts": ["mostReplayed"] },
  "a log of": { "shared/postgres/src/embedded/log-file.ts": ["maxBytes", "storedLogs"] },
};

/** The value of a constant or a property, written as a number or a product of numbers. */
function constantOf(file: string, constant: string): number {
  const [name = "", object] = constant.split(".").reverse();
  const source = readFileSync(join(root, file), "utf8");
  const scope = object === undefined ? source : source.slice(source.search(new RegExp(`const ${object}\\b`)));
  const text = new RegExp(`(?:const ${name}\\b[^=\\n]*= |\\b${name}: )([\\d_. *]+)`).exec(scope)?.[1];
  if (text === undefined) throw new Error(`${file} has no ${constant}`);
  return text.split("*").reduce((product, factor) => product * Number(factor.replaceAll("_", "").trim()), 1);
}

/** The forms in which a value may be told; the name says its unit. */
function formsOf(name: string, value: number): string[] {
  const text = (number: number) => number.toLocaleString("en-US");
  const units = { Ms: { ms: 1, s: 1_000, min: 60_000, h: 3_600_000 }, Seconds: { s: 1 }, bytes: { bytes: 1, KB: 1024, MB: 1024 ** 2 } };
  const written = (of: Readonly<Record<string, number>>) => Object.entries(of).map(([unit, size]) => `${text(value / size)} ${unit}`);
  if (name.endsWith("Ms")) return written(units.Ms);
  if (name.endsWith("Seconds")) return written(units.Seconds);
  if (name.endsWith("Share")) return [`${text(value * 100)} %`];
  if (/bytes|length|limit$/i.test(name)) return written(units.bytes);
  return [text(value)];
}

/** Whether a cell of the table tells a value in one of its forms. */
function tells(cell: string, forms: readonly string[]): boolean {
  return forms.some((form) => new RegExp(`(?<![\\d.,])${form.replaceAll(/[.%]/g, "\\$&")}(?![\\d,]*\\d)`).test(cell));
}

test.each(Object.entries(constants))("the row “%s” tells the constants of the code", (row, files) => {
  const [what = "", limit = ""] = rows.find(([first = ""]) => first.startsWith(row)) ?? [];
  expect(what, `there is no row that begins with "${row}"`).not.toBe("");
  for (const [file, names] of Object.entries(files)) {
    for (const name of names) {
      const forms = formsOf(name, constantOf(file, name));
      expect(tells(limit, forms), `${file}: ${name} is ${forms.join(" or ")}, and "${what}" says ${limit}`).toBe(true);
    }
  }
});

const defaults = new Map(
  programSettings
    .filter(({ program }) => program === "gateway" || program === "CRM cell")
    .flatMap(({ settings }) => Object.values(settings))
    .map((setting) => [setting.name, setting]),
);
const withVariables = rows.flatMap(([what = "", limit = "", variables = "", ...more]) =>
  more.length === 0 ? [] : [...variables.matchAll(/`([A-Z][A-Z0-9_]+)`/g)].map(([, name = ""]) => ({ name, what, limit })),
);

test.each(withVariables)("the limits tell the default of $name", ({ name, what, limit }) => {
  const setting = defaults.get(name);
  const value = Number(setting?.default);
  const forms = setting?.unit === "ms" ? formsOf("Ms", value) : setting?.unit === "%" ? [`${value} %`] : [value.toLocaleString("en-US")];
  expect(tells(limit, forms), `${name} is ${forms.join(" or ")}, and "${what}" says ${limit}`).toBe(true);
});
