import createClient from "openapi-fetch";
import type { paths } from "../dist/openapi-typescript.ts";
import { csv, expect, settings } from "./settings.ts";

const { baseUrl, authorization, tenantId } = settings();
const client = createClient<paths>({ baseUrl, headers: { authorization } });
const header = { "X-Tenant-Id": tenantId };

const uploaded = await client.POST("/customers/import", {
  params: { header, query: { dryRun: false } },
  body: { file: csv("openapi-fetch") },
  bodySerializer: (body) => {
    const form = new FormData();
    form.append("file", new Blob([(body as { file: string }).file], { type: "text/csv" }), "customers.csv");
    return form;
  },
});
expect(uploaded.data && "created" in uploaded.data && uploaded.data.created === 2, uploaded);
const { data: list } = await client.GET("/customers", { params: { header, query: { keyword: "openapi-fetch", pageSize: 5 } } });
expect(list?.total === 2, list);
