import { type CellOptions, createCell, type RunningCell, type SealWitness } from "@cell/cell";
import { Registry } from "@cell/postgres";
import { auditLogRoutes } from "./audit-logs/routes.ts";
import { contactRoutes } from "./contacts/routes.ts";
import { customerImport } from "./customers/import.ts";
import * as customers from "./customers/repository.ts";
import { customerRoutes } from "./customers/routes.ts";
import { exportRoutes } from "./exports/routes.ts";
import type { Importer } from "./imports/importer.ts";
import { importRoutes } from "./imports/routes.ts";
import { tenantMigrations } from "./migrations/tenant.ts";
import { settingsRoutes } from "./settings/routes.ts";

/** What can be imported. */
export const importers: readonly Importer[] = [customerImport];

/** The tenants of this cell. */
export function createRegistry(options: {
  databaseUrl: string;
  loginSecret: string;
  total: number;
  perLogin: number;
  statementTimeoutMs: number;
}): Registry {
  return new Registry({
    cell: "crm",
    url: options.databaseUrl,
    loginSecret: options.loginSecret,
    migrations: tenantMigrations,
    total: options.total,
    perLogin: options.perLogin,
    readersPerLogin: 3,
    waitMs: 1_000,
    idleMs: 30_000,
    maxAgeMs: 15 * 60_000,
    statementTimeoutMs: options.statementTimeoutMs,
    lockTimeoutMs: 1_000,
  });
}

export interface CrmOptions extends Pick<CellOptions, "registry" | "assertionKeys" | "log" | "draining" | "committed"> {
  /** What the audit trails are verified against. */
  sealWitness: SealWitness;
  /** Has a tenant's imports carried out that were put off. */
  wakeImports(tenantId: string): void;
}

/** The CRM cell's application. */
export function createCrm(options: CrmOptions): RunningCell {
  return createCell(
    {
      ...options,
      name: "crm",
      title: "Cell CRM",
      description: "Customers and their audit trail. Every path is below the gateway's /api/v1/crm.",
      version: "1.0.0",
    },
    // Their paths win over /customers/{id}.
    [
      importRoutes(importers, options.wakeImports),
      exportRoutes("/customers", customers.lists),
      customerRoutes,
      contactRoutes,
      auditLogRoutes(options.sealWitness),
      settingsRoutes,
    ],
  );
}
