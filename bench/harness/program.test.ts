import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { isAlive } from "@cell/postgres/embedded/process";
import { afterEach, beforeEach, expect, test } from "vitest";
import { type ProgramOptions, startProgram } from "./program.ts";

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "program-"));
});
afterEach(() => rmSync(dir, { recursive: true }));

function node(script: string, url: string, onPid: (pid: number) => void = () => undefined): ProgramOptions {
  return { name: "it", program: process.execPath, args: ["-e", script], cwd: dir, url, logPath: join(dir, "log"), onPid };
}

/** An address that nobody listens at, and one that somebody does. */
async function addresses() {
  const [free, taken] = [createServer(), createServer((_, response) => response.end())];
  for (const server of [free, taken]) await once(server.listen(0, "127.0.0.1"), "listening");
  const [freeUrl, takenUrl] = [free, taken].map((server) => `http://127.0.0.1:${(server.address() as AddressInfo).port}/`);
  free.close();
  return { free: freeUrl ?? "", taken: takenUrl ?? "", close: () => taken.close() };
}

test("a program runs from when it answers until it is stopped", async () => {
  const { free, close } = await addresses();
  close();
  const script = `require("node:http").createServer((_, response) => response.end("here")).listen(${new URL(free).port}, "127.0.0.1")`;
  let recorded = 0;
  const program = await startProgram(node(script, free, (pid) => (recorded = pid)));
  expect(program.pid).toBe(recorded);
  expect(await (await fetch(free)).text()).toBe("here");
  await program.stop();
  expect(isAlive(program.pid)).toBe(false);
  await program.stop();
});

test("one that ends at once is told of with the end of its log", async () => {
  const { free, close } = await addresses();
  close();
  await expect(startProgram(node('console.error("no such table"); process.exit(3)', free))).rejects.toThrow(
    /it does not start;.*no such table/s,
  );
});

test("nothing is started where something else answers: it would be measured instead", async () => {
  const { taken, close } = await addresses();
  let recorded = 0;
  await expect(startProgram(node("setInterval(() => {}, 1000)", taken, (pid) => (recorded = pid)))).rejects.toThrow(
    "something else answers",
  );
  expect(recorded).toBe(0);
  close();
});
