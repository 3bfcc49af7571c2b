import { createHmac } from "node:crypto";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type Caller, parseAssertionKeys, signAssertion, verifyAssertion } from "./assertion.ts";

const secret = Buffer.alloc(32, 1);
const keys = parseAssertionKeys(`k1:${secret.toString("base64url")}`);
const caller: Caller = {
  principal: { tenantId: "tenant-001", userId: "user-001", actorType: "user", permissions: ["crm:read"], scope: "own" },
  requestId: "req-1",
  requestIdIsKey: true,
};
const now = 1_800_000_000;

describe("an assertion", () => {
  test("an assertion tells the cell what the gateway knows about the caller", () => {
    expect(verifyAssertion(keys, "crm", signAssertion(keys, "crm", caller, now), "req-1", now)).toEqual(caller);
  });

  test("an assertion is signed by HMAC-SHA256", () => {
    const text = signAssertion(keys, "crm", caller, now);
    const head = text.slice(0, text.lastIndexOf("."));
    expect(text.slice(head.length + 1)).toBe(createHmac("sha256", secret).update(`${head}.crm.req-1`).digest("base64url"));
  });

  test.each([
    ["for another cell", () => verifyAssertion(keys, "messaging", signAssertion(keys, "crm", caller, now), "req-1", now)],
    ["with another request id", () => verifyAssertion(keys, "crm", signAssertion(keys, "crm", caller, now), "req-2", now)],
    [
      "by another key",
      () =>
        verifyAssertion(
          parseAssertionKeys(`k1:${Buffer.alloc(32, 2).toString("base64url")}`),
          "crm",
          signAssertion(keys, "crm", caller, now),
          "req-1",
          now,
        ),
    ],
    ["that is missing", () => verifyAssertion(keys, "crm", undefined, "req-1", now)],
    ["without a request id", () => verifyAssertion(keys, "crm", signAssertion(keys, "crm", caller, now), undefined, now)],
  ])("%s is refused", (_, verify) => {
    expect(verify).toThrow("only accepts requests from the gateway");
  });

  test.each([
    ["after its expiry", now + 31],
    ["from far in the future", now - 3600],
  ])("an assertion %s is a transient fault, since the caller's token is good", (_, seenAt) => {
    const verify = () => verifyAssertion(keys, "crm", signAssertion(keys, "crm", caller, now), "req-1", seenAt);
    expect(verify).toThrow(expect.objectContaining({ code: "UNAVAILABLE", headers: { "retry-after": "1" } }));
  });

  test("an assertion with any one character changed is rejected", () => {
    const text = signAssertion(keys, "crm", caller, now);
    fc.assert(
      fc.property(fc.nat(text.length - 1), fc.constantFrom(..."AZaz09._-"), (at, character) => {
        const changed = text.slice(0, at) + character + text.slice(at + 1);
        fc.pre(
          (changed !== text &&
            Buffer.from(changed.split(".")[4] ?? "", "base64url").compare(Buffer.from(text.split(".")[4] ?? "", "base64url")) !== 0) ||
            (at < text.lastIndexOf(".") && changed !== text),
        );
        expect(() => verifyAssertion(keys, "crm", changed, "req-1", now)).toThrow();
      }),
    );
  });

  test("an assertion by an old key is accepted while the cell holds the key, so that keys rotate without downtime", () => {
    const both = parseAssertionKeys(`k2:${Buffer.alloc(32, 2).toString("base64url")},k1:${secret.toString("base64url")}`);
    expect(verifyAssertion(both, "crm", signAssertion(keys, "crm", caller, now), "req-1", now)).toEqual(caller);
    expect(verifyAssertion(both, "crm", signAssertion(both, "crm", caller, now), "req-1", now)).toEqual(caller);
  });
});

test.each(["", "k1", "k1:short", ":AAAA", "a b:AAAA"])("the key list %j is rejected with its fault", (text) => {
  expect(() => parseAssertionKeys(text)).toThrow();
});
