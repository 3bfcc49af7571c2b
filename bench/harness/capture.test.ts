import { expect, it } from "vitest";
import { scriptOf, statementsIn } from "./capture.ts";

const log = `2026-11-21 04:00:00.001 UTC [77] other@cell crm LOG:  execute s1: select 1 from b where c = $1
2026-11-21 04:00:00.002 UTC [78] tenant_a@cell crm LOG:  execute s2: select x
	from a
	where b = $1 and c = $2
2026-11-21 04:00:00.002 UTC [78] tenant_a@cell crm DETAIL:  Parameters: $1 = 'it''s {"n":1}', $2 = NULL
2026-11-21 04:00:00.003 UTC [78] tenant_a@cell crm LOG:  execute <unnamed>: begin
`;

it("a role's statements are read from the server's log with their values, line breaks and quotes included", () => {
  expect(statementsIn(log, "tenant_a")).toEqual([{ text: "select x\nfrom a\nwhere b = $1 and c = $2", values: ['it\'s {"n":1}', null] }]);
});

it("in a script for pgbench each transaction makes the tokens anew, and the rest stays a parameter", () => {
  const captured = { text: "select $1, $2, $3, $2", values: ["of 17 apples", "same", null], types: ["text", "text", "uuid"] };
  const script = scriptOf([captured], new Map([["17", ":n"]]), "\\set n random(1, 9)\n");
  expect(script.text).toBe("\\set n random(1, 9)\nselect (:v0_0::text || :n || :v0_1::text)::text, :v0_2, null::uuid, :v0_3;\n");
  expect(script.variables).toEqual({ v0_0: "of ", v0_1: " apples", v0_2: "same", v0_3: "same" });
});
