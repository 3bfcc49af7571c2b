import { execFile } from "node:child_process";
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { sendWithAutocannon } from "./autocannon.ts";
import { type Load, type LoadRequest, prefix, unique, uniqueValue, version } from "./requests.ts";
import type { Sample } from "./sample.ts";

/** Sends the requests in turn for this many seconds; each connection sends the next one after the response. */
export async function sendLoad(load: Load): Promise<Omit<Sample, "cpuUs">> {
  if (load.wrk === undefined) return sendWithAutocannon(load);
  const follows = load.requests.some((request) => request.follows);
  const script = join(import.meta.dirname, "..", "load", follows ? "updates.lua" : "requests.lua");
  const run = prefix();
  // Unique: another load may run at the same time.
  const file = join(load.dir, `requests-${run}`);
  writeFileSync(file, load.requests.map(written).join(""));
  const { host } = new URL(load.url);
  const options = ["-t1", `-c${load.connections}`, `-d${load.seconds}s`, "--timeout", "30s", "-s", script, `http://${host}`];
  try {
    const { stdout } = await promisify(execFile)(load.wrk, [...options, "--", file, run]);
    return sampleOf(stdout);
  } finally {
    rmSync(file);
  }
}

/** Raw HTTP, in the form that the scripts of wrk read. */
function written({ method, path, headers, body = "", follows }: LoadRequest): string {
  const lines = Object.entries({ host: "bench", ...headers }).map(([name, value]) => `${name}: ${value}\r\n`);
  const length = body === "" ? "" : `content-length: ${Buffer.byteLength(body.replaceAll(unique, uniqueValue(0)))}\r\n`;
  const text = `${method} ${path} HTTP/1.1\r\n${lines.join("")}${length}\r\n${body}`;
  const request = text.replaceAll(unique, "\u0001").replaceAll(version, "\u0002");
  return `${follows ? `${follows.id}\0${follows.version}\0` : ""}${request}\0`;
}

interface WrkResult {
  requests: number;
  durationUs: number;
  p50Us: number;
  p99Us: number;
  maxUs: number;
  refused: number;
  broken: number;
}

function sampleOf(output: string): Omit<Sample, "cpuUs"> {
  const line = /^RESULT (.*)$/m.exec(output)?.[1];
  if (line === undefined) throw new Error(`wrk says no result: ${output}`);
  const result = JSON.parse(line) as WrkResult;
  return {
    count: result.requests,
    perSecond: result.requests / (result.durationUs / 1e6),
    p50Ms: result.p50Us / 1000,
    p99Ms: result.p99Us / 1000,
    maxMs: result.maxUs / 1000,
    errors: result.refused + result.broken,
  };
}
