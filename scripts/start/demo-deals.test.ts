import { expect, test } from "vitest";
import { demoCustomers } from "./demo-data.ts";
import { demoOpportunities } from "./demo-deals.ts";

test.each(["tenant-001", "tenant-002"])(
  "on each day of a week the opportunities of %s entered their stages before that day",
  (tenantId) => {
    const customers = demoCustomers(tenantId, 300, ["user-001", "user-002"]);
    for (let date = 16; date <= 30; date++) {
      const day = `2026-11-${date}`;
      const opportunities = demoOpportunities(tenantId, customers, 400, ["CNY"], day);
      const entered = opportunities.flatMap(({ stageHistory }) => stageHistory.map(({ enteredAt }) => enteredAt));
      expect(
        entered.filter((at) => at >= day),
        day,
      ).toEqual([]);
    }
  },
);
