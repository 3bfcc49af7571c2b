import { customersImportWithCsv, customersImportWithFormData, customersList } from "../dist/orval.ts";
import { csv, expect, settings } from "./settings.ts";

const { baseUrl, authorization, tenantId } = settings();
// Its functions take addresses relative to the page that they run in.
const { fetch } = globalThis;
globalThis.fetch = (url, init) => fetch(`${baseUrl}${String(url)}`, init);
const headers = { authorization, "X-Tenant-Id": tenantId };

const uploaded = await customersImportWithFormData(
  { file: new Blob([csv("orval")], { type: "text/csv" }) },
  { dryRun: false },
  { headers },
);
expect(uploaded.status === 200 && uploaded.data.created === 2, uploaded);
const bare = await customersImportWithCsv(new Blob([csv("orval too")]), { dryRun: true }, { headers });
expect(bare.status === 200 && bare.data.created === 2, bare);
const list = await customersList({ keyword: "orval", pageSize: 5 }, { headers });
expect(list.status === 200 && list.data.total === 2, list);
