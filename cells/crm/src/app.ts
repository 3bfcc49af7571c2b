import { auditLogRoutes, type CellDefinition, exportRoutes, settingsRoutes, webhookRoutes } from "@cell/cell";
import { crmSettings } from "./config.ts";
import * as contacts from "./contacts/repository.ts";
import { contactRoutes } from "./contacts/routes.ts";
import { contact } from "./contacts/schema.ts";
import * as contracts from "./contracts/repository.ts";
import { contractRoutes } from "./contracts/routes.ts";
import { contract } from "./contracts/schema.ts";
import { customer360Routes } from "./customer-360/routes.ts";
import { movesWithCustomer } from "./customers/merge-participants.ts";
import * as customers from "./customers/repository.ts";
import { customerRoutes } from "./customers/routes.ts";
import { customerColumns } from "./customers/table.ts";
import { importers } from "./importers.ts";
import { importRoutes } from "./imports/routes.ts";
import { lookupRoutes } from "./lookups/routes.ts";
import { cellMigrations } from "./migrations/registry.ts";
import { tenantMigrations } from "./migrations/tenant.ts";
import { lists as opportunityLists } from "./opportunities/lists.ts";
import { opportunityParameters } from "./opportunities/query.ts";
import * as opportunities from "./opportunities/repository.ts";
import { opportunityRoutes } from "./opportunities/routes.ts";
import { opportunity } from "./opportunities/schema.ts";
import { opportunityColumns } from "./opportunities/table.ts";
import * as payments from "./payments/repository.ts";
import { paymentRoutes } from "./payments/routes.ts";
import { payment } from "./payments/schema.ts";
import { permissions, roles } from "./permissions.ts";
import { pipelineRoutes } from "./pipelines/routes.ts";
import { publication } from "./publication.ts";
import { reportRoutes } from "./reports/routes.ts";
import { type CrmServices, crmServices } from "./services.ts";
import { tenantSettings } from "./settings/domain.ts";
import { webhooks } from "./webhooks/event-catalogue.ts";

/** The records that a merge moves along with customers, in this order. */
const customerChildren = [
  movesWithCustomer(contact, contacts.moveToCustomer),
  movesWithCustomer(opportunity, opportunities.moveToCustomer),
  movesWithCustomer(contract, contracts.moveToCustomer),
  movesWithCustomer(payment, payments.moveToCustomer),
];

/** The CRM cell. */
export const crm: CellDefinition<typeof crmSettings, CrmServices> = {
  name: "crm",
  permissions,
  roles,
  ...publication,
  settings: crmSettings,
  schemaMigrations: cellMigrations,
  tenantMigrations,
  services: (runtime) => crmServices(runtime),
  slices: [
    (cell, services) => importRoutes(importers, (tenantId) => services().wakeImports(tenantId))(cell),
    exportRoutes({
      path: "/customers",
      permission: "crm:export",
      lists: customers.lists,
      fields: customerColumns.kinds,
    }),
    exportRoutes({
      path: "/opportunities",
      permission: "crm:export",
      lists: opportunityLists,
      fields: opportunityColumns.kinds,
      own: opportunityParameters,
    }),
    (cell) => customerRoutes(cell, customerChildren),
    (cell, services) => customer360Routes(cell, (context, customerId) => services().readConversations(context, customerId)),
    contactRoutes,
    lookupRoutes,
    pipelineRoutes,
    reportRoutes,
    opportunityRoutes,
    contractRoutes,
    paymentRoutes,
    auditLogRoutes,
    settingsRoutes(tenantSettings),
    (cell, services) => webhookRoutes(webhooks, () => services().webhooks)(cell),
  ],
};
