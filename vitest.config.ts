import { defineConfig } from "vitest/config";
import ClosingLineReporter from "./scripts/closing-line-reporter.ts";

export default defineConfig({
  test: {
    include: ["{shared,gateway,cells,scripts,bench}/**/*.test.ts"],
    globalSetup: ["scripts/build.ts", "shared/postgres/src/testing/global-setup.ts"],
    pool: "forks",
    maxWorkers: 2,
    testTimeout: 30_000,
    hookTimeout: 30_000,
    reporters: ["default", new ClosingLineReporter()],
  },
});
