import { badField } from "@cell/problem";

/**
 * Removes `token` from a query. Browsers send it there for event streams and sockets, which cannot set headers. The rest stays unchanged
 * byte for byte. Throws BAD_REQUEST for more than one.
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
