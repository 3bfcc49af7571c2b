import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { mask, withoutMasked } from "./masking.ts";

describe("masks", () => {
  test.each([
    ["13800138000", "138****8000"],
    ["138-0013-8000", "138****8000"],
    ["+8613800138000", "+86138****8000"],
    ["+86 138 0013 8000", "+86138****8000"],
    ["+12025550123", "+1****0123"],
    ["2025550123", "****0123"],
    ["123456789", "12****89"],
    ["12345678", "12****78"],
    ["1234567", "****"],
    ["+441234567", "****"],
    ["123", "****"],
    ["", ""],
  ])("the phone number %s is masked as %s", (phone, masked) => {
    expect(mask("phone", phone)).toBe(masked);
  });

  test.each([
    ["contact@example.com", "c***@example.com"],
    ["😀😀@example.com", "😀***@example.com"],
    ["ab@example.com", "***@example.com"],
    ["a@example.com", "***@example.com"],
    ["nothing", "***"],
    ["", ""],
  ])("the e-mail address %s is masked as %s", (email, masked) => {
    expect(mask("email", email)).toBe(masked);
  });

  test("a masked null stays null, and masked amounts have one length", () => {
    expect(mask("phone", null)).toBeNull();
    expect([mask("amount", "1.00"), mask("amount", "120000000.00")]).toEqual(["****", "****"]);
  });

  test("a masked phone number shows at most seven digits and hides at least four", () => {
    fc.assert(
      fc.property(fc.stringMatching(/^[1-9]\d{2,14}$/), (phone) => {
        const shown = String(mask("phone", phone)).replace(/\D/g, "").length;
        expect(shown).toBeLessThanOrEqual(7);
        expect(phone.length - shown).toBeGreaterThanOrEqual(Math.min(3, phone.length));
      }),
    );
  });

  test("a record's own masked values mean unchanged, whatever the record", () => {
    fc.assert(
      fc.property(fc.stringMatching(/^\+?\d{3,15}$/), fc.emailAddress(), (phone, email) => {
        const patch = { phone: mask("phone", phone), email: mask("email", email), level: "A" };
        expect(withoutMasked({ phone: "phone", email: "email" }, { phone, email }, patch)).toEqual({ level: "A" });
      }),
    );
  });
});
