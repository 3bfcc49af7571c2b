import type { Logger } from "@cell/http";

export interface Background {
  /** Ends the repetition; resolves when work under way has ended. */
  stop(): Promise<void>;
}

/** Does `work` at once and then every so often, never twice at the same time; what it rejects with is logged. Keeps no process alive. */
export function repeat(everyMs: number, work: () => Promise<void>, log: Logger, what: string): Background {
  let running: Promise<void> | undefined;
  const run = () => {
    running ??= work()
      .catch((err) => log.error({ err }, `${what} failed`))
      .finally(() => {
        running = undefined;
      });
  };
  const timer = setInterval(run, everyMs);
  timer.unref();
  run();
  return {
    async stop() {
      clearInterval(timer);
      await running;
    },
  };
}
