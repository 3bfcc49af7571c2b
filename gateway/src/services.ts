import { createHttpMetrics, type HttpMetrics, type Logger } from "@cell/http";
import { openKysely } from "@cell/postgres";
import { Authenticator } from "./authenticate.ts";
import { Cells } from "./cells.ts";
import type { Config } from "./config.ts";
import { ControlPlane } from "./control-plane.ts";
import type { ControlDb, Tables } from "./tables.ts";
import { Upstreams } from "./upstreams.ts";

/** What the gateway is made of; nothing is connected before it is used. */
export interface Services {
  config: Config;
  log: Logger;
  metrics: HttpMetrics;
  db: ControlDb;
  authenticator: Authenticator;
  controlPlane: ControlPlane;
  upstreams: Upstreams;
  cells: Cells;
  /** To be called after a change of the control plane: this process then need not wait for its next look. */
  changed(): void;
  close(): Promise<void>;
}

export function createServices(config: Config, log: Logger): Services {
  const db = openKysely<Tables>({ url: config.databaseUrl, applicationName: "gateway", max: 8 });
  const authenticator = new Authenticator(db, config.operatorKey, log);
  const changed = () => authenticator.forget();
  const controlPlane = new ControlPlane(db, config.cells, changed, log);
  const upstreams = new Upstreams(config.timeouts);
  const cells = new Cells(config, upstreams);
  async function close(): Promise<void> {
    controlPlane.stop();
    await upstreams.close();
    await db.destroy();
  }
  return { config, log, metrics: createHttpMetrics(), db, authenticator, controlPlane, upstreams, cells, changed, close };
}
