import { badField, Problem } from "@cell/problem";
import type { Context } from "hono";

const maxBytes = 1024 * 1024;
const maxDepth = 32;
const utf8 = new TextDecoder("utf-8", { fatal: true });

/** The JSON body of a request. Throws the documented error for anything that is not well-formed JSON in UTF-8, of at most 1 MB. */
export async function readJson(c: Context, limitBytes = maxBytes): Promise<unknown> {
  const type = c.req.header("content-type");
  if (type === undefined || !/^application\/json\s*(;\s*charset="?utf-8"?\s*)?$/i.test(type)) {
    throw new Problem("UNSUPPORTED_MEDIA_TYPE", "Send the body as application/json in UTF-8");
  }
  if (c.req.header("content-encoding") !== undefined) throw new Problem("UNSUPPORTED_MEDIA_TYPE", "Send the body without Content-Encoding");
  if (Number(c.req.header("content-length") ?? 0) > limitBytes) throw tooLarge(limitBytes);
  const bytes = await c.req.arrayBuffer();
  if (bytes.byteLength > limitBytes) throw tooLarge(limitBytes);
  let text: string;
  try {
    text = utf8.decode(bytes);
  } catch (cause) {
    throw new Problem("BAD_REQUEST", "The body is not UTF-8", { cause });
  }
  return parseJson(text);
}

/** JSON that is not nested past reason. Throws BAD_REQUEST. */
export function parseJson(text: string): unknown {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new Problem("BAD_REQUEST", "The body is not well-formed JSON", { cause });
  }
  checkDepth(value, 0);
  return value;
}

function checkDepth(value: unknown, depth: number): void {
  if (typeof value !== "object" || value === null) return;
  if (depth >= maxDepth) throw badField("", "TOO_DEEP", `is nested more than ${maxDepth} levels deep`);
  for (const inner of Array.isArray(value) ? value : Object.values(value)) checkDepth(inner, depth + 1);
}

function tooLarge(limitBytes: number): Problem {
  return new Problem("PAYLOAD_TOO_LARGE", `The body may have at most ${limitBytes} bytes`);
}

/** JSON text in which equal values are equal: keys in order, no white space. */
export function canonicalJson(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(",")}]`;
  if (typeof value === "object" && value !== null) {
    const object = value as Record<string, unknown>;
    const entries = Object.keys(object)
      .sort()
      .map((key) => `${JSON.stringify(key)}:${canonicalJson(object[key])}`);
    return `{${entries.join(",")}}`;
  }
  return JSON.stringify(value) ?? "null";
}
