import type { Logger } from "@cell/http";

export interface Background {
  /** Ends the repetition; resolves when running work has ended. */
  stop(): Promise<void>;
}

/** Runs `work` immediately and then periodically, never concurrently; rejections are logged. Does not keep the process alive. */
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
