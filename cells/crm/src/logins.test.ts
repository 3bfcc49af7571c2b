import { refused } from "@cell/cell/testing/database-attacks";
import { describeLogins } from "@cell/cell/testing/logins";
import { startCrm, type TestCrm } from "./testing/test-crm.ts";

describeLogins({
  cell: "crm",
  start: (options) => startCrm(options),
  path: "/customers",
  record: (name) => ({ name }),
  table: "customers",
  column: "name",
  selectAttacks: refused(
    "with taken as (update $mine.opportunity_history set amount = 0 returning 1) select * from taken",
    "select nextval('$theirs.contract_numbers')",
    "select setval('$mine.contract_numbers', 1)",
  ),
  statementAttacks: refused(
    "update $mine.opportunity_history set amount = 0",
    "delete from $mine.opportunity_history",
    "truncate $mine.opportunity_history",
  ),
  settle: (cell) => (cell as TestCrm).dispatcher.stop(),
});
