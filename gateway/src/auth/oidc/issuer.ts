/** An issuer as providers write it: without a slash at the end, and with one. People copy it either way. */
export function formsOf(issuer: string): [string, string] {
  const bare = issuer.replace(/\/$/, "");
  return [bare, `${bare}/`];
}
