import { readFileSync } from "node:fs";

// Loaded before a process's program (node --import): offsets its clock from the machine's by the content of a file. Timers and
// performance.now() stay unchanged, as when a machine's clock is set.

const { env } = process;
const file = env.CHAOS_CLOCK ?? "";
const RealDate = Date;
let offsetMs = 0;

function read(): void {
  offsetMs = Number(readFileSync(file, "utf8"));
}

class SteppedDate extends RealDate {
  constructor(...given: []) {
    super(...(given.length === 0 ? ([RealDate.now() + offsetMs] as unknown as []) : given));
  }
  static override now(): number {
    return RealDate.now() + offsetMs;
  }
}

read();
setInterval(read, 20).unref();
globalThis.Date = SteppedDate as DateConstructor;
