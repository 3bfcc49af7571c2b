import { generateKeyPairSync } from "node:crypto";
import { readCellConfig } from "@cell/cell";
import { expect, test } from "vitest";
import { crmSettings } from "./config.ts";

const readConfig = (env: Record<string, string>) => readCellConfig(crmSettings, env);

const pemOf = (type: "ed25519" | "x25519") =>
  generateKeyPairSync(type as "ed25519", {
    publicKeyEncoding: { type: "spki", format: "pem" },
    privateKeyEncoding: { type: "pkcs8", format: "pem" },
  });
const pair = pemOf("ed25519");
const good = {
  DATABASE_URL: "postgres://none",
  ASSERTION_KEYS: `a:${"A".repeat(43)}`,
  TENANT_LOGIN_SECRET: "x".repeat(32),
  SEAL_KEY: pair.privateKey,
  WEBHOOK_KEYS: `a:${"A".repeat(43)}`,
};

test("the seal's key may be given in one line, and earlier public keys one after the other", () => {
  const { sealKeys } = readConfig({
    ...good,
    SEAL_KEY: pair.privateKey.replaceAll("\n", "\\n"),
    SEAL_PUBLIC_KEYS: pemOf("ed25519").publicKey + pemOf("ed25519").publicKey,
  });
  expect(sealKeys.keyId).toMatch(/^[0-9a-f]{16}$/);
  expect(sealKeys.publicKeys.size).toBe(3);
});

test("every missing or invalid variable of the cell is reported at once", () => {
  const env = { TENANT_LOGIN_SECRET: "short", WEBHOOK_LOG_DAYS: "many" };
  const names = (error: unknown) => (error as Error).message.split("; ").map((fault) => fault.split(" ")[0]);
  expect.assertions(1);
  try {
    readConfig(env);
  } catch (error) {
    expect(names(error)).toEqual(["DATABASE_URL", "ASSERTION_KEYS", "TENANT_LOGIN_SECRET", "SEAL_KEY", "WEBHOOK_KEYS", "WEBHOOK_LOG_DAYS"]);
  }
});

test.each([
  ["DATABASE_URL", ""],
  ["ASSERTION_KEYS", "short"],
  ["TENANT_LOGIN_SECRET", "short"],
  ["SEAL_KEY", "no key"],
  ["WEBHOOK_KEYS", ""],
  ["WEBHOOK_KEYS", "a:short"],
  ["OUTBOUND_ALLOW", "127.0.0.1/33"],
  ["OUTBOUND_ALLOW", "localhost"],
  ["SEAL_KEY", pair.publicKey],
  ["SEAL_KEY", pemOf("x25519").privateKey],
  ["SEAL_PUBLIC_KEYS", "no key"],
  ["SEAL_PUBLIC_KEYS", pemOf("x25519").publicKey],
  ["PORT", "eighty"],
  ["METRICS_PORT", "8001"],
  ["METRICS_TOKEN", "short"],
])("%s that is not fit is refused by its name", (name, value) => {
  expect(() => readConfig({ ...good, [name]: value })).toThrow(new RegExp(`^${name}`));
});
