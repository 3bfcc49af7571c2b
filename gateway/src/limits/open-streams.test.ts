import { createLogger } from "@cell/http";
import { Problem } from "@cell/problem";
import { expect, test } from "vitest";
import { type Access, operatorAccess } from "../auth/access.ts";
import { createGatewayMetrics } from "../metrics.ts";
import { type OpenStream, OpenStreams } from "./open-streams.ts";

const limits = { process: 5, tenant: 3, token: 2 };
const url = "http://127.0.0.1:1";

function accessOf(tokenId: string, tenantId: string): Access {
  const { principal, ...access } = operatorAccess([]);
  return { ...access, tokenId, principal: { ...principal, tenantId }, placements: new Map([["small", url]]) };
}

function make(reauthenticate: (stream: OpenStream) => Promise<Access> = async ({ access }) => access) {
  const streams = new OpenStreams(limits, reauthenticate, createGatewayMetrics(), createLogger("test", "silent"));
  const ended: string[] = [];
  /** Opens a stream; returns a function that closes it. */
  const open = (tokenId: string, tenantId: string, expiresAtMs = Number.POSITIVE_INFINITY) => {
    const end = () => {
      ended.push(tokenId);
      leave();
    };
    const leave = streams.enter({
      kind: "events",
      access: accessOf(tokenId, tenantId),
      token: tokenId,
      cell: "small",
      url,
      expiresAtMs,
      end,
    });
    return leave;
  };
  const rejection = (tokenId: string, tenantId: string) => {
    try {
      open(tokenId, tenantId)();
      return undefined;
    } catch (error) {
      return [(error as Problem).code, (error as Problem).details?.limit];
    }
  };
  return { streams, ended, open, rejection };
}

test("open streams are limited by token, tenant and process; each end frees one place, and only once", () => {
  const { streams, open, rejection } = make();
  const first = open("a1", "a");
  open("a1", "a");
  expect(rejection("a1", "a")).toEqual(["RATE_LIMITED", "streams-token"]);
  open("a2", "a");
  expect(rejection("a3", "a")).toEqual(["RATE_LIMITED", "streams-tenant"]);
  open("b1", "b");
  open("b1", "b");
  expect(rejection("c1", "c")).toEqual(["UNAVAILABLE", undefined]);
  first();
  first();
  expect(streams.size).toBe(4);
  expect(rejection("a1", "a")).toBeUndefined();
  open("a3", "a");
  expect(rejection("c1", "c")).toEqual(["UNAVAILABLE", undefined]);
});

test("a stream ends when its token expires, and when its token, its tenant or its placement is gone", async () => {
  const changed: Record<string, () => Promise<Access>> = {
    gone: () => Promise.reject(new Problem("UNAUTHORIZED", "This token is not known")),
    suspended: async () => ({ ...accessOf("suspended", "a"), suspended: true }),
    moved: async () => ({ ...accessOf("moved", "b"), placements: new Map([["small", "http://127.0.0.1:2"]]) }),
    unsure: () => Promise.reject(new Problem("UNAVAILABLE", "Tokens cannot be checked")),
  };
  const { streams, ended, open } = make(({ access }) => changed[access.tokenId]?.() ?? Promise.resolve(access));
  for (const [tokenId, tenantId] of Object.entries({ gone: "a", suspended: "a", moved: "b", unsure: "b" })) open(tokenId, tenantId);
  open("brief", "c", Date.now() + 10);
  await expect.poll(() => ended, { timeout: 5_000 }).toEqual(["brief"]);
  streams.recheck();
  await expect.poll(() => [...ended].sort(), { timeout: 5_000 }).toEqual(["brief", "gone", "moved", "suspended"]);
  expect(streams.size).toBe(1);
  streams.drain();
  expect([ended.at(-1), streams.size]).toEqual(["unsure", 0]);
});
