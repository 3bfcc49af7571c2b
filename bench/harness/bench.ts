import { join } from "node:path";
import type { Config } from "../config.ts";
import { sendLoad } from "./load.ts";
import { runPgbench, type Script } from "./pgbench.ts";
import type { Pids } from "./processes.ts";
import type { Line } from "./report.ts";
import type { LoadRequest } from "./requests.ts";
import { interleave, type MeasuredSides, type Side } from "./rounds.ts";
import { withCpu } from "./sample.ts";
import type { Stack } from "./stack.ts";
import { assertedHeaders, callerHeaders } from "./tenants.ts";
import type { Tools } from "./tools.ts";

/** A measured workload: each one's doc comment has what is measured, its limit and its goal. */
export interface Workload {
  id: string;
  title: string;
  run(bench: Bench): Promise<Line[]>;
}

/** What workloads use to measure. */
export class Bench {
  readonly config: Config;
  readonly stack: Stack;
  readonly tools: Tools;
  readonly log: (line: string) => void;

  constructor(config: Config, stack: Stack, tools: Tools, log: (line: string) => void) {
    this.config = config;
    this.stack = stack;
    this.tools = tools;
    this.log = log;
  }

  /** Sends requests in turn, created anew for each round. */
  http(
    name: string,
    url: string,
    pids: Pids,
    requests: (round: number) => LoadRequest[] | Promise<LoadRequest[]>,
    connections?: number,
  ): Side {
    const { config, tools } = this;
    return {
      name,
      run: async (seconds, round) => {
        const load = { wrk: tools.wrk, url, requests: await requests(round), connections: connections ?? config.connections, seconds };
        return withCpu(pids, () => sendLoad({ ...load, dir: config.dataDir }));
      },
    };
  }

  /** Requests of one tenant to the CRM through the gateway. */
  throughGateway(name: string, tenantId: string, requests: readonly Ask[], connections?: number): Side {
    const headers = callerHeaders(tenantId);
    const whole = requests.map((request) => ({
      ...request,
      path: `/api/v1/crm${request.path}`,
      headers: { ...headers, ...request.headers },
    }));
    return this.http(name, this.stack.gateway, this.stack.pids("gateway", "crm"), () => whole, connections);
  }

  /** The same requests directly to the cell, with the gateway's assertion. */
  cellAlone(name: string, tenantId: string, requests: readonly Ask[], connections?: number): Side {
    const signed = () =>
      requests.map((request) => ({ ...request, headers: { ...assertedHeaders(this.stack, tenantId), ...request.headers } }));
    return this.http(name, this.stack.crm, this.stack.pids("crm"), signed, connections);
  }

  /** A limit of the database: undefined without pgbench. */
  sql(
    name: string,
    tenantId: string,
    script: Script | ((round: number) => Promise<Script>),
    options: { connections?: number; latencies?: boolean; url?: string } = {},
  ): Side | undefined {
    const { config, tools, stack } = this;
    const { pgbench } = tools;
    if (pgbench === undefined) return undefined;
    return {
      name,
      run: async (seconds, round) => {
        const run = {
          program: pgbench,
          script: typeof script === "function" ? await script(round) : script,
          url: options.url ?? stack.urlOf(tenantId),
          connections: options.connections ?? config.connections,
          seconds,
          dir: config.dataDir,
          latencies: options.latencies ?? false,
        };
        return withCpu(stack.pids(), () => runPgbench(run));
      },
    };
  }

  /** Measures sides against each other, after a second of warm-up each. */
  async measure<Sides extends Record<string, Side | undefined>>(
    sides: Sides,
    seconds = this.config.seconds,
  ): Promise<MeasuredSides<Sides>> {
    const { rounds, smoke } = this.config;
    if (!smoke) await interleave(sides, { rounds: 1, seconds: 1 });
    return interleave(sides, { rounds, seconds });
  }

  /** Path of a file of this run. */
  file(name: string): string {
    return join(this.config.dataDir, name);
  }
}

/** A request as far as its sender does not matter. */
export type Ask = Omit<LoadRequest, "headers"> & { headers?: Record<string, string> };

/** GETs of these paths. */
export function gets(paths: readonly string[]): Ask[] {
  return paths.map((path) => ({ method: "GET", path }));
}

/** Numbers from 1 to `last`, spread evenly. */
export function spreadNumbers(howMany: number, last: number): number[] {
  // A large prime: its multiples visit every number before they repeat one.
  return Array.from({ length: Math.min(howMany, last) }, (_, index) => 1 + ((index * 1_000_003) % last));
}
