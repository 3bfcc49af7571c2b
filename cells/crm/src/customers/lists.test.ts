import type { TestCell, TestClient } from "@cell/cell/testing/test-cell";
import { describe, expect, test } from "vitest";
import { tenantPerFile } from "../testing/tenants.ts";
import { auditOf } from "../testing/test-crm.ts";

let cell: TestCell;
let tenantId: string;
let admin: TestClient;

const people = ["user-001", "user-002"];

tenantPerFile(async (given) => {
  ({ cell, tenantId, admin } = given);
  for (let index = 0; index < 45; index++) {
    const body = {
      name: index % 3 === 0 ? `华兴贸易${index}号` : `Northwind ${index}`,
      contactName: index % 5 === 0 ? null : `Contact ${index % 4}`,
      contactPhone: `1380013${String(8000 + index)}`,
      contactEmail: `contact${index}@example.com`,
      industry: ["retail", "food", "steel"][index % 3],
      status: ["lead", "active", "inactive"][index % 3],
      ownerId: people[index % 2],
      tags: index % 2 ? ["vip", "east"] : ["west"],
      notes: index === 7 ? "100%_sure\\thing" : null,
    };
    expect((await admin.post("/customers", { body })).status).toBe(201);
  }
});

const names = (response: { body: { data: { name: string }[] } }) => response.body.data.map((row) => row.name);

describe("pages", () => {
  test("a list is newest first, twenty to a page, masked, with the total of all", async () => {
    const response = await admin.get("/customers");
    expect(response.body).toMatchObject({ total: 45, page: 1, pageSize: 20 });
    expect(response.body.data).toHaveLength(20);
    expect(response.body.data[0]).toMatchObject({
      name: "Northwind 44",
      contactPhone: "138****8044",
      contactEmail: "c***@example.com",
      _masked: ["contactPhone", "contactEmail"],
    });
    const third = await admin.get("/customers?page=3");
    expect(third.body.data).toHaveLength(5);
    expect((await admin.get("/customers?page=4")).body).toMatchObject({ data: [], total: 45, page: 4, nextCursor: null });
  });

  test.each([
    "page=0",
    "page=-1",
    "page=1.5",
    "page=x",
    "pageSize=0",
    "pageSize=201",
    "page=NaN",
    "page=1e3",
    "total=all",
    "cursor=abc",
    "sort=nonsense",
    "sort=name,name",
    "sort=__proto__",
  ])("%s is a BAD_REQUEST", async (query) => {
    expect((await admin.get(`/customers?${query}`)).body.code).toBe("BAD_REQUEST");
  });

  test.each(["-createdAt", "name", "contactName,-name", "-contactName", "status,-createdAt", "-ownerId,contactName"])(
    "a walk by cursor in the order %s sees every row once, as pages do, while others write",
    async (sort) => {
      const pages: string[] = [];
      for (let page = 1; page <= 7; page++) pages.push(...names(await admin.get(`/customers?sort=${sort}&pageSize=7&page=${page}`)));
      const read: string[] = [];
      let cursor: string | null = "";
      for (let step = 0; cursor !== null && step < 20; step++) {
        const response = await admin.get(`/customers?sort=${sort}&pageSize=7&cursor=${cursor}`);
        read.push(...names(response));
        expect(response.body.total).toBe(45);
        cursor = response.body.nextCursor;
        if (step === 2) {
          const passing = await admin.post("/customers", { body: { name: "AAA passing by", contactName: "AAA" } });
          await admin.delete(`/customers/${passing.body.customerId}`);
        }
      }
      expect(read).toEqual(pages);
      expect(new Set(read).size).toBe(45);
    },
  );

  test("a cursor is good for its own question and tenant alone", async () => {
    const { nextCursor } = (await admin.get("/customers?pageSize=5")).body;
    expect((await admin.get(`/customers?pageSize=5&sort=name&cursor=${nextCursor}`)).status).toBe(400);
    expect((await admin.get(`/customers?pageSize=5&keyword=x&cursor=${nextCursor}`)).status).toBe(400);
    expect((await cell.client(await cell.tenant()).get(`/customers?pageSize=5&cursor=${nextCursor}`)).status).toBe(400);
    expect((await admin.get(`/customers?page=2&cursor=${nextCursor}`)).status).toBe(400);
    const forged = JSON.parse(Buffer.from(nextCursor, "base64url").toString());
    forged[4] = ["not a time", "not an id"];
    expect((await admin.get(`/customers?pageSize=5&cursor=${Buffer.from(JSON.stringify(forged)).toString("base64url")}`)).status).toBe(400);
  });
});

describe("questions", () => {
  test.each([
    ["华兴", 15],
    ["华", 15],
    ["贸易3号", 1],
    ["NORTHWIND", 30],
    ["wind 4", 5],
    ["contact 2", 9],
    ["steel", 15],
    ["VIP", 22],
    ["100%_sure\\thing", 1],
    ["%", 1],
    ["nowhere", 0],
    ["没有", 0],
  ])("keyword %s finds %i by substring in name, contact, industry, tags and notes", async (keyword, total) => {
    expect((await admin.get(`/customers?keyword=${encodeURIComponent(keyword)}`)).body.total).toBe(total);
  });

  test.each([
    ["status[eq]:lead", 15],
    ["status[ne]:lead", 30],
    ["status[in]:lead,active", 30],
    ["status[eq]:lead and industry[eq]:retail", 15],
    ["status[eq]:lead and industry[eq]:food", 0],
    ["name[contains]:WIND", 30],
    ['name[contains]:"no and there"', 0],
    ["contactName[isNull]:true", 9],
    ["contactName[isNull]:false", 36],
    ["tags[contains]:vip", 22],
    ["tags[eq]:west", 23],
    ["tags[in]:west,east", 45],
    ["createdAt[gte]:2020-01-01", 45],
    ["createdAt[lt]:2020-01-01T00:00:00Z", 0],
    ["contactPhone[eq]:13800138003", 1],
    ["contactEmail[in]:contact1@example.com,contact2@example.com", 2],
    ["contactPhone[contains]:8003", 1],
  ])("filter %s matches %i", async (filter, total) => {
    expect((await admin.get(`/customers?filter=${encodeURIComponent(filter)}`)).body.total).toBe(total);
  });

  test.each([
    "status",
    "status[eq]",
    "status[like]:x",
    "nonsense[eq]:1",
    "createdAt[gte]:yesterday",
    "createdAt[gte]:2026-02-30",
    "customerId[eq]:1",
    "tags[gt]:a",
    "__proto__[eq]:1",
    "constructor[eq]:1",
    "name[isNull]:maybe",
  ])("filter %s is a BAD_REQUEST", async (filter) => {
    expect((await admin.get(`/customers?filter=${encodeURIComponent(filter)}`)).body.code).toBe("BAD_REQUEST");
  });

  test("ownerId picks an owner's records, me one's own", async () => {
    expect((await admin.get("/customers?ownerId=user-002")).body.total).toBe(22);
    expect((await cell.client(tenantId, { userId: "user-002" }).get("/customers?ownerId=me")).body.total).toBe(22);
    expect((await cell.client(tenantId, { userId: "user-002", scope: "own" }).get("/customers?ownerId=user-001")).body.total).toBe(0);
  });
});

describe("masked fields", () => {
  const blind = () => cell.client(tenantId, { permissions: ["crm:read"] });

  test.each([
    "sort=contactPhone",
    "sort=-contactEmail",
    "filter=contactPhone[contains]:8003",
    "filter=contactPhone[gt]:1",
    "filter=contactEmail[lte]:z",
    "filter=contactPhone[eq]:13800138003",
    "filter=contactPhone[ne]:13800138003",
    "filter=contactEmail[in]:contact1@example.com,contact2@example.com",
    "filter=status[eq]:lead or (name[isNull]:true or contactPhone[eq]:13800138003)",
  ])("%s is refused for who may not read them", async (query) => {
    const response = await blind().get(`/customers?${query}`);
    expect([response.status, response.body.code]).toEqual([403, "FIELD_MASKED"]);
  });

  test("whether there is one may be asked for", async () => {
    expect((await blind().get("/customers?filter=contactPhone[isNull]:false")).body.total).toBe(45);
    expect((await blind().get("/customers?filter=contactEmail[isNull]:true")).body.total).toBe(0);
  });

  test("reveal clears a page for who may, with one entry for each record", async () => {
    expect((await cell.client(tenantId, { permissions: ["crm:read", "pii:read"] }).get("/customers?reveal=contactPhone")).status).toBe(403);
    const response = await admin.get("/customers?pageSize=3&reveal=contactPhone");
    for (const row of response.body.data) {
      expect([row.contactPhone, row._masked]).toEqual([expect.stringMatching(/^1380013\d{4}$/), ["contactEmail"]]);
      expect((await auditOf(tenantId, row.customerId)).map((entry) => entry.action)).toEqual(["create", "reveal"]);
    }
    expect((await admin.get("/customers?reveal=name")).status).toBe(400);
  });
});
