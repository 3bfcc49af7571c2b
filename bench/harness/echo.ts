import { createServer } from "node:http";

/** A cell that does nothing, to measure what is in front of it. It accepts every tenant and every caller. */
const customer = {
  customerId: "0197c3a2-7c1e-7b1a-9d53-0d6b6a1f2c10",
  tenantId: "tenant-001",
  name: "某某公司",
  contactPhone: "138****8000",
  contactEmail: "c***@example.com",
  industry: "manufacturing",
  level: "A",
  status: "lead",
  ownerId: "user-001",
  tags: ["vip"],
  customFields: {},
  createdAt: "2026-01-01T00:00:00.000Z",
  updatedAt: "2026-01-01T00:00:00.000Z",
  version: 1,
};
const small = Buffer.from(JSON.stringify({ customerId: customer.customerId, deleted: true }));
const list = Buffer.from(JSON.stringify({ data: Array.from({ length: 20 }, () => customer), total: 20, page: 1, pageSize: 20 }));

const env: NodeJS.ProcessEnv = process.env;
const server = createServer((incoming, outgoing) => {
  incoming.resume();
  const body = incoming.url === "/list" ? list : small;
  outgoing.writeHead(200, { "content-type": "application/json; charset=utf-8", "content-length": body.length });
  outgoing.end(body);
});
server.keepAliveTimeout = 65_000;
server.listen(Number(env.PORT), env.HOST);
process.once("SIGTERM", () => {
  server.close();
  server.closeAllConnections();
});
