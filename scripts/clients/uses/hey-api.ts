import { client } from "../dist/hey-api/client.gen.ts";
import { customersImport, customersList } from "../dist/hey-api/sdk.gen.ts";
import { csv, expect, settings } from "./settings.ts";

const { baseUrl, authorization, tenantId } = settings();
client.setConfig({ baseUrl, headers: { authorization } });
const headers = { "X-Tenant-Id": tenantId };

// It knows the JSON body of an operation with several media types; its serializer can send another.
const asCsv = { ...headers, "Content-Type": "text/csv" };
const file = csv("hey-api");
const uploaded = await customersImport({ headers: asCsv, query: { dryRun: false }, body: { items: [] }, bodySerializer: () => file });
expect(uploaded.data && "created" in uploaded.data && uploaded.data.created === 2, uploaded);
const { data: list } = await customersList({ headers, query: { keyword: "hey-api", pageSize: 5 } });
expect(list?.total === 2, list);
