import autocannon from "autocannon";
import { type Load, type LoadRequest, prefix, unique, uniqueValue, version } from "./requests.ts";
import { type Sample, timed } from "./sample.ts";

/** Sends the load by autocannon if wrk is missing: the same requests, but latencies in whole milliseconds and more CPU. */
export async function sendWithAutocannon({ url, requests, connections, seconds }: Load): Promise<Omit<Sample, "cpuUs">> {
  const sent = requests.some((request) => request.follows) ? followed(requests) : requests.map(oneAfterAnother(prefix()));
  const result = await autocannon({ url, connections, duration: seconds, timeout: 30, requests: sent });
  const { requests: answered, latency, non2xx, errors } = result;
  return {
    ...timed(answered.total, result.duration * 1000, { errors: non2xx + errors }),
    p50Ms: latency.p50,
    p99Ms: latency.p99,
    maxMs: latency.max,
  };
}

let issued = 0;

function filled({ method, path, headers, body, follows }: LoadRequest, mine: string): autocannon.Request {
  const value = uniqueValue(issued++, mine);
  const fill = (text: string) => text.replaceAll(unique, value).replaceAll(version, String(follows?.version));
  const names = Object.entries({ host: "bench", ...headers });
  const whole = { method: method as "GET", path, headers: Object.fromEntries(names.map(([name, text]) => [name, fill(text)])) };
  return body === undefined ? whole : { ...whole, body: fill(body) };
}

function oneAfterAnother(mine: string) {
  return (request: LoadRequest): autocannon.Request => {
    const isFixed = ![...Object.values(request.headers), request.body ?? ""].some((text) => text.includes(unique));
    return isFixed ? filled(request, mine) : { setupRequest: (before) => ({ ...before, ...filled(request, mine) }) };
  };
}

/** Each record is changed by one request at a time, with the version from the previous response. */
function followed(requests: readonly LoadRequest[]): autocannon.Request[] {
  const mine = prefix();
  const byId = new Map(requests.map((request) => [request.follows?.id, request]));
  const waiting = [...requests];
  return [
    {
      setupRequest(before) {
        const next = waiting.shift();
        if (!next) throw new Error("There are fewer records than requests under way");
        return { ...before, ...filled(next, mine) };
      },
      onResponse(status, body) {
        const id = /"customerId":"([^"]+)"/.exec(body)?.[1];
        const known = byId.get(id);
        if (status === 200 && id && known) waiting.push({ ...known, follows: { id, version: Number(/"version":(\d+)/.exec(body)?.[1]) } });
      },
    },
  ];
}
