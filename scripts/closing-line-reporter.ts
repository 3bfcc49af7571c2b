import type { Reporter, TestModule } from "vitest/node";

/** Ends a test run with "N passed, N failed", alone on its line; a file that could not run, or a fault outside any test, counts as one failed. */
export default class ClosingLineReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], unhandledErrors: readonly unknown[]): void {
    let passed = 0;
    let failed = unhandledErrors.length;
    for (const module of modules) {
      const states = [...module.children.allTests()].map((test) => test.result().state);
      const failures = states.filter((state) => state === "failed").length;
      passed += states.filter((state) => state === "passed").length;
      failed += failures === 0 && module.state() === "failed" ? 1 : failures;
    }
    process.stdout.write(`${passed} passed, ${failed} failed\n`);
  }
}
