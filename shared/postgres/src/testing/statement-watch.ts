import { setTimeout as sleep } from "node:timers/promises";
import pg from "pg";

/** Records every statement that this process sends to PostgreSQL, with its login, until `stop`. */
export function recordStatements(): { sent: { user: string | undefined; text: string; mode: unknown }[]; stop(): void } {
  const sent: { user: string | undefined; text: string; mode: unknown }[] = [];
  const { query } = pg.Client.prototype;
  pg.Client.prototype.query = function (this: pg.Client, ...given: unknown[]) {
    const [config] = given as [string | { text: string; queryMode?: string; submit?: unknown }];
    if (typeof config === "string") sent.push({ user: this.user, text: config, mode: undefined });
    else if (typeof config?.text === "string")
      // Cursors always use the extended protocol.
      sent.push({ user: this.user, text: config.text, mode: config.submit ? "extended" : config.queryMode });
    return (query as (...all: unknown[]) => unknown).apply(this, given);
  } as typeof query;
  return {
    sent,
    stop() {
      pg.Client.prototype.query = query;
    },
  };
}

/** Resolves when this process has sent nothing for a while: background work of earlier requests has ended. */
export async function quiet(): Promise<void> {
  const { sent, stop } = recordStatements();
  for (let looks = 0; looks < 50; looks++) {
    sent.length = 0;
    await sleep(200);
    if (sent.length === 0) break;
  }
  stop();
}
