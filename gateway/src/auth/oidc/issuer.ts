/** The two forms of an issuer's URL, without and with a trailing slash: people copy either. */
export function formsOf(issuer: string): [string, string] {
  const bare = issuer.replace(/\/$/, "");
  return [bare, `${bare}/`];
}
