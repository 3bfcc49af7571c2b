import { describe, expect, test } from "vitest";
import { choice, integer, list, pem, readEnv, secretOf, text, toggle, url } from "./env.ts";
import { StartRefused } from "./start-refused.ts";

const meaning = "For this test.";
const settings = {
  host: text("HOST", { default: "127.0.0.1", meaning }),
  port: integer("PORT", { default: 8080, max: 65_535, meaning }),
  token: text("TOKEN", { isRequired: true, isSecret: true, parse: secretOf(24), meaning }),
  upstream: url("UPSTREAM", { isRequired: true, meaning }),
  origins: list("ORIGINS", { meaning }),
  key: pem("KEY", { meaning }),
  mode: choice("MODE", ["own", "shared"], { default: "own", meaning }),
  demo: toggle("DEMO", { default: "1", meaning }),
  requests: integer("UPSTREAM_REQUESTS", { default: 512, min: 1, formerName: "LANE_REQUESTS", meaning }),
};
const good = { TOKEN: "t".repeat(24), UPSTREAM: "http://127.0.0.1:1" };

const thrown = (env: Record<string, string>): unknown => {
  try {
    return readEnv(settings, env);
  } catch (error) {
    return error;
  }
};

test("every setting that is missing or wrong is named in one refusal", () => {
  const error = thrown({ PORT: "eighty", MODE: "both", DEMO: "yes" });
  expect(error).toBeInstanceOf(StartRefused);
  expect((error as Error).message).toBe(
    [
      'PORT must be a whole number from 0 to 65535, not "eighty"',
      "TOKEN is not set",
      "UPSTREAM is not set",
      'MODE must be one of own, shared, not "both"',
      'DEMO must be 1 or 0, not "yes"',
    ].join("; "),
  );
});

test("a secret that is wrong is refused without its value", () => {
  expect((thrown({ ...good, TOKEN: "not long" }) as Error).message).toBe("TOKEN must be 24 characters or more, without spaces");
});

test("a setting that is absent or empty has its default, or no value", () => {
  expect(readEnv(settings, { ...good, HOST: "", ORIGINS: "" })).toEqual({
    host: "127.0.0.1",
    port: 8080,
    token: good.TOKEN,
    upstream: good.UPSTREAM,
    mode: "own",
    demo: true,
    requests: 512,
  });
});

test("lists are split at commas, and a PEM may be written in one line", () => {
  const { origins, key } = readEnv(settings, { ...good, ORIGINS: "a, b", KEY: "-----BEGIN\\nx" });
  expect({ origins, key }).toEqual({ origins: ["a", "b"], key: "-----BEGIN\nx" });
});

test("settings are compared with each other even where others are wrong", () => {
  const check = ({ host, port }: { host?: string; port?: number }, report: (name: string, fault: string) => void) =>
    report("HOST", `must not be ${host} with ${port}`);
  expect(() => readEnv(settings, { ...good, PORT: "x" }, { check })).toThrow(
    /^PORT must .*; HOST must not be 127\.0\.0\.1 with undefined$/,
  );
});

describe("a setting that was renamed", () => {
  const read = (env: Record<string, string>) => {
    const warnings: string[] = [];
    const { requests } = readEnv(settings, { ...good, ...env }, { warn: (message) => warnings.push(message) });
    return { requests, warnings };
  };
  const warning = "LANE_REQUESTS is now named UPSTREAM_REQUESTS; the former name is read for one more release only";

  test("is read under its former name, with a warning", () => {
    expect(read({ LANE_REQUESTS: "7" })).toEqual({ requests: 7, warnings: [warning] });
  });

  test("has the value of its present name where both are set", () => {
    expect(read({ LANE_REQUESTS: "7", UPSTREAM_REQUESTS: "8" })).toEqual({ requests: 8, warnings: [warning] });
  });

  test("is refused under the name by which it was given", () => {
    expect(() => read({ LANE_REQUESTS: "0" })).toThrow('LANE_REQUESTS must be a whole number from 1 to 3600000, not "0"');
  });
});
