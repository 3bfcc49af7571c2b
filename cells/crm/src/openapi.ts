import { parseWebhookKeys } from "@cell/cell";
import { createLogger, Outbound, parseAssertionKeys } from "@cell/http";
import type { Document } from "@cell/http/openapi/document";
import { createCrm } from "./app.ts";
import { createRegistry } from "./registry.ts";

/** The cell's OpenAPI document, generated without a database. */
export function crmDocument(): Promise<Document> {
  const registry = createRegistry({ databaseUrl: "postgres://unused", loginSecret: "", total: 1, perTenant: 1, statementTimeoutMs: 1 });
  const noKey = `none:${Buffer.alloc(32).toString("base64url")}`;
  const { document } = createCrm({
    registry,
    assertionKeys: parseAssertionKeys(noKey),
    log: createLogger("openapi", "silent"),
    draining: () => false,
    committed: () => undefined,
    adoptTrail: () => Promise.reject(new Error("There is no trail")),
    endTrail: () => Promise.reject(new Error("There is no trail")),
    readConversations: () => Promise.reject(new Error("There is no messaging cell")),
    wakeImports: () => undefined,
    webhooks: { outbound: new Outbound({}), keys: parseWebhookKeys(noKey), changed: () => undefined },
    sealWitness: { publicKeys: new Map(), head: async () => undefined },
  });
  return document();
}
