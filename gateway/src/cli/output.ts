import { ApiError } from "./client.ts";

/** Result of a command, in both forms. */
export interface CommandResult {
  /** Printed by `--json`. */
  data: unknown;
  /** Prints it for people. */
  show(): void;
  /** 1: it was carried out with a bad result, such as an import with failed rows. Default 0. */
  exitCode?: 0 | 1;
}

/** A command that stopped midway, with what it had done by then. */
export class PartialFailure extends Error {
  readonly done: CommandResult;
  override readonly cause: unknown;

  constructor(cause: unknown, done: CommandResult) {
    super("The command was interrupted", { cause });
    this.cause = cause;
    this.done = done;
  }
}

/** Exit codes: 0, 1 as above, and 2 for a command that was not carried out, such as one with bad arguments. */
const notCarriedOut = 2;

/** Runs a command and prints its result or its error. Resolves to the exit code. */
export async function runCommand(work: () => Promise<CommandResult | undefined>, isJson: boolean): Promise<number> {
  const print = ({ data, show }: CommandResult) => (isJson ? console.log(JSON.stringify(data)) : show());
  try {
    const result = await work();
    if (result) print(result);
    return result?.exitCode ?? 0;
  } catch (error) {
    if (error instanceof PartialFailure) print(error.done);
    printError(error instanceof PartialFailure ? error.cause : error, isJson);
    return notCarriedOut;
  }
}

function printError(error: unknown, isJson: boolean): void {
  const { message } = error as Error;
  const { code, requestId } = error instanceof ApiError ? error : {};
  if (isJson) console.error(JSON.stringify({ code, message, requestId }));
  else console.error(requestId ? `${message} (request ${requestId})` : message);
}

/** Ends the process quietly when its output pipe is closed, as by `head`. */
export function endWithReader(): void {
  for (const stream of [process.stdout, process.stderr]) {
    stream.on("error", (error: NodeJS.ErrnoException) => {
      if (error.code === "EPIPE") process.exit();
      throw error;
    });
  }
}

/** Lines for people, as a `show` function. */
export function lines(...texts: string[]): () => void {
  return () => {
    for (const text of texts) console.log(text);
  };
}

/** Prints rows under a header, with columns as wide as needed. */
export function printTable(columns: string[], rows: (string | number | null)[][]): void {
  const cells = [columns, ...rows.map((row) => row.map((value) => (value === null ? "-" : String(value))))];
  const widths = columns.map((_, index) => Math.max(...cells.map((row) => row[index]?.length ?? 0)));
  for (const row of cells)
    console.log(
      row
        .map((value, index) => value.padEnd(widths[index] ?? 0))
        .join("  ")
        .trimEnd(),
    );
}
