import { startCell } from "@cell/cell/start-cell";
import { crm } from "./app.ts";

await startCell(crm);
