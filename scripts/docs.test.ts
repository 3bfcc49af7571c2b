import { existsSync } from "node:fs";
import { type Browser, chromium, type Page } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startProduct, type TestProduct } from "./testing/product.ts";

const executablePath = ["/usr/bin/chromium", "/usr/bin/chromium-browser"].find(existsSync);
if (!executablePath) console.warn("scripts/docs.test.ts is skipped: there is no Chromium (Debian: apt-get install chromium)");

let product: TestProduct;
let browser: Browser;

beforeAll(async () => {
  if (!executablePath) return;
  product = await startProduct();
  // The sandbox needs rights that a container's root does not have.
  browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
}, 60_000);
afterAll(async () => {
  await browser?.close();
  await product?.stop();
});

/** Opens an operation, enters the key and presses Send. Resolves to the status, what was sent, and the answer. */
async function send(page: Page, tag: string, method: string, path: string) {
  await page.goto("about:blank");
  await page.goto(`${product.gateway.url}/docs#crm/tag/${tag}/${method}${path}`);
  const section = page.locator(`[id="crm/tag/${tag}/${method}${path}"]`).first();
  await section.locator("button", { hasText: "Test Request" }).first().click();
  const dialog = page.getByRole("dialog");
  const token = dialog.locator('[placeholder="Token"]').first();
  await token.click();
  await page.keyboard.insertText(product.key);
  const answered = page.waitForResponse(
    (response) => response.url().startsWith(`${product.gateway.url}/api/v1/crm`) && response.request().method() === method,
  );
  await dialog.getByRole("button", { name: /^Send/ }).first().click();
  const response = await answered;
  const request = response.request();
  return { status: response.status(), url: request.url(), headers: request.headers(), text: await response.text() };
}

test.skipIf(!executablePath)(
  "after the README's first call, Send succeeds on the documents' page with what it is filled with, and sends no optional parameter",
  { timeout: 240_000 },
  async () => {
    const { gateway, key, tenantId } = product;
    const first = { name: "某某公司", contactPhone: "13800138000", contactEmail: "contact@example.com" };
    const headers = { "x-request-id": "req-uuid-001" };
    const created = await gateway.call("/api/v1/crm/customers", { key, tenantId, headers, json: first });
    expect(created.status, created.text).toBe(201);

    const page = await browser.newPage({ viewport: { width: 1500, height: 1000 } });
    for (const [tag, method, path, status] of [
      ["customers", "GET", "/customers", 200],
      ["customers", "POST", "/customers", 201],
      ["opportunities", "GET", "/opportunities", 200],
      ["reports", "GET", "/pipeline/summary", 200],
      ["imports", "POST", "/customers/import", 200],
      ["audit", "GET", "/audit-logs/verify", 200],
      ["settings", "PATCH", "/settings", 200],
    ] as const) {
      const sent = await send(page, tag, method, path);
      expect(sent.status, `${method} ${path}: ${sent.text}`).toBe(status);
      expect(new URL(sent.url).search, path).toBe("");
      expect(sent.headers, path).not.toHaveProperty("x-request-id");
      expect(sent.headers, path).not.toHaveProperty("if-match");
      expect(sent.headers, path).not.toHaveProperty("x-idempotency-mode");
    }
    await page.close();
  },
);
