declare const process: { env: Record<string, string | undefined>; exit(code: number): never };

/** The product's address, and the credentials. */
export function settings() {
  const { BASE_URL: baseUrl = "", KEY: key = "", TENANT_ID: tenantId = "" } = process.env;
  return { baseUrl, authorization: `Bearer ${key}`, tenantId };
}

/** A file of two customers, whose names hold the generator's. */
export function csv(generator: string): string {
  return `name,contactPhone\r\nFirst by ${generator},13800138000\r\nSecond by ${generator},13800138001\r\n`;
}

/** Ends the process with the response if it is not as expected. */
export function expect(holds: boolean | undefined, answered: unknown): void {
  if (holds === true) return;
  console.error(JSON.stringify(answered));
  process.exit(1);
}
