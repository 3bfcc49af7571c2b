import { afterAll, beforeAll } from "vitest";
import { startTestCell, type TestCell } from "./cell.ts";
import { createDatabase, startTestGateway, type TestGateway } from "./gateway.ts";

/** A gateway with a database of its own, and the cell `crm` behind it. */
export interface ServedGateway {
  gateway: TestGateway;
  cell: TestCell;
}

/** Serves a gateway and a cell to the tests of a file; `prepare` runs once before them. */
export function gatewayPerFile(prepare: (given: ServedGateway) => void | Promise<void>): void {
  let gateway: TestGateway;
  let cell: TestCell;
  beforeAll(async () => {
    cell = await startTestCell();
    gateway = await startTestGateway(await createDatabase(), `crm=${cell.url}`);
    await prepare({ gateway, cell });
  });
  afterAll(async () => {
    await gateway.stop();
    await cell.close();
  });
}
