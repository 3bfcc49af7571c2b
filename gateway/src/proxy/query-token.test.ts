import { expect, test } from "vitest";
import { takeQueryToken } from "./query-token.ts";

test.each([
  ["", undefined, ""],
  ["?a=1", undefined, "?a=1"],
  ["?token=abc", "abc", ""],
  ["?a=1&token=abc&b=%20&&c", "abc", "?a=1&b=%20&&c"],
  ["?%74oken=a%2Bb", "a+b", ""],
  ["?token=a=b", "a=b", ""],
  ["?tokens=abc&mytoken=x", undefined, "?tokens=abc&mytoken=x"],
])("of the query %s the token is %s, and %s goes on", (query, token, rest) => {
  expect(takeQueryToken(query)).toEqual({ token, query: rest });
});

test.each(["?token=a&token=b", "?token=a&%74oken=a", "?token=", "?token", "?token=a%20b", "?token=%E5%BC%A0"])(
  "a token in the query %s is rejected",
  (query) => {
    expect(() => takeQueryToken(query)).toThrow(/token/);
  },
);
