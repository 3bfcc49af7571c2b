import { migrateCell } from "@cell/cell/start-cell";
import { crm } from "./app.ts";

await migrateCell(crm);
