import {
  auditLogRoutes,
  type CellOptions,
  createCell,
  exportRoutes,
  type RunningCell,
  type WebhookOptions,
  webhookRoutes,
} from "@cell/cell";
import { version } from "@cell/http";
import * as contacts from "./contacts/repository.ts";
import { contactRoutes } from "./contacts/routes.ts";
import { contact } from "./contacts/schema.ts";
import * as contracts from "./contracts/repository.ts";
import { contractRoutes } from "./contracts/routes.ts";
import { contract } from "./contracts/schema.ts";
import type { ReadConversations } from "./customer-360/messaging.ts";
import { customer360Routes } from "./customer-360/routes.ts";
import { customerImport } from "./customers/imports/importer.ts";
import { movesWithCustomer } from "./customers/merge-participants.ts";
import * as customers from "./customers/repository.ts";
import { customerRoutes } from "./customers/routes.ts";
import type { Importer } from "./imports/importer.ts";
import { importRoutes } from "./imports/routes.ts";
import { lookupRoutes } from "./lookups/routes.ts";
import { opportunityImport } from "./opportunities/imports/importer.ts";
import { lists as opportunityLists } from "./opportunities/lists.ts";
import { opportunityParameters } from "./opportunities/query.ts";
import * as opportunities from "./opportunities/repository.ts";
import { opportunityRoutes } from "./opportunities/routes.ts";
import { opportunity } from "./opportunities/schema.ts";
import * as payments from "./payments/repository.ts";
import { paymentRoutes } from "./payments/routes.ts";
import { payment } from "./payments/schema.ts";
import { permissions, roles } from "./permissions.ts";
import { pipelineRoutes } from "./pipelines/routes.ts";
import { publication } from "./publication.ts";
import { reportRoutes } from "./reports/routes.ts";
import { settingsRoutes } from "./settings/routes.ts";
import { webhooks } from "./webhooks/event-catalogue.ts";

/** The records that a merge moves along with customers, in this order. */
const customerChildren = [
  movesWithCustomer(contact, contacts.moveToCustomer),
  movesWithCustomer(opportunity, opportunities.moveToCustomer),
  movesWithCustomer(contract, contracts.moveToCustomer),
  movesWithCustomer(payment, payments.moveToCustomer),
];

/** The resources that can be imported. */
export const importers: readonly Importer[] = [customerImport, opportunityImport];

export interface CrmOptions
  extends Pick<
    CellOptions,
    | "registry"
    | "assertionKeys"
    | "log"
    | "metricsToken"
    | "draining"
    | "sealingProblems"
    | "files"
    | "openDoors"
    | "longResponseMs"
    | "committed"
    | "sealWitness"
    | "adoptTrail"
    | "endTrail"
  > {
  /** Reads from the messaging cell. */
  readConversations: ReadConversations;
  /** Starts a tenant's deferred imports. */
  wakeImports(tenantId: string): void;
  /** Targets, signing keys and sender of webhooks. */
  webhooks: WebhookOptions;
}

/** The CRM cell's application. */
export function createCrm(options: CrmOptions): RunningCell {
  return createCell(
    {
      ...options,
      resumed(tenantId) {
        options.committed(tenantId);
        options.wakeImports(tenantId);
        options.webhooks.changed(tenantId);
      },
      name: "crm",
      permissions,
      roles,
      ...publication,
      version,
    },
    [
      importRoutes(importers, options.wakeImports),
      exportRoutes("/customers", customers.lists, { customFields: "json", version: "integer" }),
      exportRoutes("/opportunities", opportunityLists, { version: "integer" }, opportunityParameters),
      (cell) => customerRoutes(cell, customerChildren),
      (cell) => customer360Routes(cell, options.readConversations),
      contactRoutes,
      lookupRoutes,
      pipelineRoutes,
      reportRoutes,
      opportunityRoutes,
      contractRoutes,
      paymentRoutes,
      auditLogRoutes(options.sealWitness),
      settingsRoutes,
      webhookRoutes(webhooks, options.webhooks),
    ],
  );
}
