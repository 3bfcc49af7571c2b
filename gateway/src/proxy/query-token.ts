import { badField } from "@cell/problem";

/**
 * Takes `token` out of a query, where browsers that cannot set headers send it: for event streams and sockets alone. What remains is byte for
 * byte as it was. Throws BAD_REQUEST for more than one.
 */
export function takeQueryToken(query: string): { token: string | undefined; query: string } {
  if (!/tok|%/i.test(query)) return { token: undefined, query };
  const tokens: string[] = [];
  const others = query
    .slice(1)
    .split("&")
    .filter((part) => {
      const [name = "", ...value] = part.split("=");
      if (decodeURIComponent(name) !== "token") return true;
      tokens.push(decodeURIComponent(value.join("=")));
      return false;
    });
  const [token] = tokens;
  if (token === undefined) return { token, query };
  if (tokens.length > 1) throw badField("token", "REPEATED", "send it once");
  if (!/^[\x21-\x7e]+$/.test(token)) throw badField("token", "INVALID_FORMAT", "must be a token");
  return { token, query: others.length === 0 ? "" : `?${others.join("&")}` };
}
