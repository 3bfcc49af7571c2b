import { startBareGateway } from "../harness/bare.ts";
import type { Bench, Workload } from "../harness/bench.ts";
import { tenants } from "../harness/data.ts";
import { besideLibrary } from "../harness/in-process.ts";
import { startNginx } from "../harness/nginx.ts";
import { atLeast, atMost, compare, type Line } from "../harness/report.ts";
import type { Measured } from "../harness/rounds.ts";
import { median } from "../harness/statistics.ts";
import { callerHeaders } from "../harness/tenants.ts";

/**
 * What the gateway costs: a cell that only answers, behind the gateway with its authentication and placement, and behind nginx, which
 * keeps its connections, on one worker. Limit: nginx. Goals: 0.60 of it for a small answer, 0.75 for a list of 7 KB, 45 µs of CPU, and
 * 0.1 ms more than without any gateway where one caller asks alone.
 */
export const gatewayHop: Workload = {
  id: "W1",
  title: "gateway hop",
  async run(bench) {
    const { stack, tools } = bench;
    const nginx = tools.nginx === undefined ? undefined : await startNginx(tools.nginx, stack);
    try {
      return [
        ...(await hop(bench, "small", "/small", 0.6, nginx)),
        ...(await hop(bench, "list of 7 KB", "/list", 0.75, nginx)),
        ...(await singleCaller(bench, nginx)),
        ...(await transports(bench)),
      ];
    } finally {
      await nginx?.stop();
    }
  },
};

type Proxy = { url: string; pid: number } | undefined;

function sides(bench: Bench, what: string, path: string, nginx: Proxy, connections?: number) {
  const { stack } = bench;
  const headers = callerHeaders(tenants.read);
  const get = (at: string) => () => [{ method: "GET", path: at, headers }];
  const echo = stack.pids("echo").echo ?? 0;
  const gateway = stack.pids("gateway").gateway ?? 0;
  return {
    direct: bench.http(`${what}, no gateway`, stack.echo, { echo }, get(path), connections),
    limit: nginx && bench.http("nginx", nginx.url, { nginx: nginx.pid, echo }, get(path), connections),
    product: bench.http(`${what}, through the gateway`, stack.gateway, { gateway, echo }, get(`/api/v1/echo${path}`), connections),
  };
}

async function hop(bench: Bench, what: string, path: string, goal: number, nginx: Proxy): Promise<Line[]> {
  const { limit, product, direct } = await bench.measure(sides(bench, what, path, nginx));
  const line = compare("W1", product, limit, ({ ratio, cpuUs }) => [
    atLeast("ratio", ratio?.median, goal),
    atMost("gateway's CPU µs", cpuUs.gateway, 45),
  ]);
  return [line, ...(limit ? [compare("W1", { ...limit, name: `${what}, through nginx` }, direct)] : [])];
}

async function singleCaller(bench: Bench, nginx: Proxy): Promise<Line[]> {
  const { direct, product, limit } = await bench.measure(sides(bench, "one caller", "/small", nginx, 1));
  const added = ({ samples }: Measured) => median(samples.map(({ p50Ms }, round) => (p50Ms ?? 0) - (direct.samples[round]?.p50Ms ?? 0)));
  const line = compare("W1", product, direct, () => [atMost("ms added to p50", added(product), 0.1)], "p50Ms");
  const byNginx = limit && { ...compare("W1", { ...limit, name: "one caller, through nginx" }, direct, undefined, "p50Ms") };
  return [
    { ...line, seen: { "ms added": added(product) } },
    ...(limit && byNginx ? [{ ...byNginx, seen: { "ms added": added(limit) } }] : []),
  ];
}

/** A bare gateway with the product's transport, beside one with undici's dispatcher. */
async function transports(bench: Bench): Promise<Line[]> {
  const { stack } = bench;
  const own = await startBareGateway(stack, stack.echo, "own");
  const library = await startBareGateway(stack, stack.echo, "undici", stack.config.ports.spare);
  const lines: Line[] = [];
  try {
    for (const [what, path] of [
      ["small", "/small"],
      ["list of 7 KB", "/list"],
    ] as const) {
      const get = () => [{ method: "GET", path, headers: {} }];
      const measured = await bench.measure({
        own: bench.http(`${what}, bare gateway by the product's transport`, own.url, { proxy: own.pid }, get),
        library: bench.http(`${what}, bare gateway by undici`, library.url, { proxy: library.pid }, get),
      });
      lines.push(besideLibrary("W1", measured.own, measured.library, "proxy"));
    }
    return lines;
  } finally {
    await own.stop();
    await library.stop();
  }
}
