import { createLogger, parseAssertionKeys } from "@cell/http";
import { createCrm, createRegistry } from "./app.ts";

/** The cell's OpenAPI document, made without a database. */
export function crmDocument(): object {
  const registry = createRegistry({ databaseUrl: "postgres://unused", loginSecret: "", total: 1, perLogin: 1, statementTimeoutMs: 1 });
  const { document } = createCrm({
    registry,
    assertionKeys: parseAssertionKeys(`none:${Buffer.alloc(32).toString("base64url")}`),
    log: createLogger("openapi", "silent"),
    draining: () => false,
    committed: () => undefined,
    readConversations: () => Promise.reject(new Error("There is no messaging cell")),
    wakeImports: () => undefined,
    sealWitness: { publicKeys: new Map(), head: async () => undefined },
  });
  return document;
}
