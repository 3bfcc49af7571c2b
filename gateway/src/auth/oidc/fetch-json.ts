const responseLimitBytes = 256 * 1024;

/** Whether a URL is https without a login, or allowed plain http on this machine. */
export function isFetchable(url: string, allowLoopback: boolean): boolean {
  const parsed = URL.parse(url);
  if (parsed === null || parsed.username !== "" || parsed.password !== "") return false;
  if (parsed.protocol === "https:") return true;
  return allowLoopback && parsed.protocol === "http:" && ["127.0.0.1", "[::1]", "localhost"].includes(parsed.hostname);
}

/** Fetches a JSON object. Rejects on redirects, statuses other than 200, other JSON, and more than 256 KB. */
export async function fetchJson(url: string, signal: AbortSignal): Promise<Record<string, unknown>> {
  const response = await fetch(url, { headers: { accept: "application/json" }, redirect: "error", signal });
  if (response.status !== 200 || !response.body) {
    await response.body?.cancel();
    throw new Error(`${url} responded with ${response.status}`);
  }
  let size = 0;
  const chunks: Uint8Array[] = [];
  for await (const chunk of response.body) {
    size += chunk.length;
    if (size > responseLimitBytes) throw new Error(`${url} sent more than ${responseLimitBytes} bytes`);
    chunks.push(chunk);
  }
  const value: unknown = JSON.parse(Buffer.concat(chunks).toString());
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw new Error(`${url} did not send a JSON object`);
  return value as Record<string, unknown>;
}
