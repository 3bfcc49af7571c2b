import { type CellRuntime, Dispatcher, type DispatcherOptions, type OwnServices, type WebhookOptions } from "@cell/cell";
import { Outbound, type ValuesOf } from "@cell/http";
import type { crmSettings } from "./config.ts";
import { type ReadConversations, readConversationsAt } from "./customer-360/messaging.ts";
import { importers } from "./importers.ts";
import { ImportRunner } from "./imports/runner.ts";
import { webhooks } from "./webhooks/event-catalogue.ts";

export type CrmRuntime = CellRuntime<ValuesOf<typeof crmSettings>>;

/** What the CRM's routes use of the process. */
export interface CrmServices {
  /** Reads from the messaging cell. */
  readConversations: ReadConversations;
  /** Starts a tenant's deferred imports. */
  wakeImports(tenantId: string): void;
  /** Targets, signing keys and sender of webhooks. */
  webhooks: WebhookOptions;
}

/** The CRM's services and workers; `given`: what differs for the dispatcher, in tests. */
export function crmServices(
  runtime: CrmRuntime,
  given: Partial<DispatcherOptions> = {},
): OwnServices<CrmServices> & { dispatcher: Dispatcher } {
  const { values } = runtime;
  const outbound = new Outbound({ allow: values.outboundAllow });
  const dispatcher = new Dispatcher({ ...dispatcherOptions(runtime, outbound), ...given });
  const imports = new ImportRunner({ ...runtime, importers });
  const wakeImports = (tenantId: string) => imports.wake(tenantId);
  return {
    dispatcher,
    services: {
      readConversations: readConversationsAt(values.messagingUrl, values.assertionKeys),
      wakeImports,
      webhooks: { outbound, keys: values.webhookKeys, changed: dispatcher.changed },
    },
    workers: [
      { start: () => imports.start(), stop: () => imports.stop(), resumed: wakeImports },
      {
        start: () => dispatcher.start(),
        stop: () => dispatcher.stop(),
        committed: dispatcher.wake,
        resumed: dispatcher.changed,
        register: (metrics) => dispatcher.register(metrics),
      },
    ],
    close: () => outbound.close(),
  };
}

/** What a dispatcher of this process is made with. */
export function dispatcherOptions({ registry, log, values, trailGrew }: CrmRuntime, outbound: Outbound): DispatcherOptions {
  return { webhooks, registry, outbound, keys: values.webhookKeys, retentionDays: values.webhookLogDays, log, committed: trailGrew };
}
