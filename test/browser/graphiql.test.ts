import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Browser, Page } from 'playwright-core';
import { browserMissing, launchBrowser } from '../support/browser.ts';
import { startGateway } from '../support/gateway.ts';

const missing = browserMissing();
if (missing) console.warn(`Skipped: GraphiQL in a browser. ${missing}`);

// Installing a browser, where that is needed, takes minutes; the test itself takes seconds.
const SET_UP = 300_000;
const PATIENCE = 20_000;

describe.skipIf(missing)('GraphiQL', () => {
  let gateway: Awaited<ReturnType<typeof startGateway>>;
  let browser: Browser;

  beforeAll(async () => {
    gateway = await startGateway();
    browser = await launchBrowser();
  }, SET_UP);

  afterAll(async () => {
    await browser?.close();
    await gateway?.stop();
  });

  test('opens on the printed link, and shows in Watch every status of the backup that Create starts', async () => {
    const context = await browser.newContext({ viewport: { width: 1400, height: 900 } });
    const page = await context.newPage();
    const addresses: string[] = [];
    const complaints: string[] = [];
    context.on('request', (request) => addresses.push(request.url()));
    page.on('websocket', (socket) => addresses.push(socket.url()));
    page.on('pageerror', (error) => complaints.push(error.message));
    page.on('console', (message) => {
      if (message.type() === 'error') complaints.push(message.text());
    });

    const schema = page.waitForResponse((response) => response.request().postData()?.includes('__schema') ?? false);
    await page.goto(`${gateway.url}/graphql#token=${encodeURIComponent(gateway.token)}`);
    expect(page.url(), 'the token is gone from the address').toBe(`${gateway.url}/graphql`);
    expect(await (await schema).json()).toHaveProperty('data.__schema');
    expect(await page.locator('.graphiql-tab-button').allTextContents()).toEqual(['List', 'Create', 'Watch', 'Restore']);
    expect(await page.getByRole('form', { name: 'Access token' }).isVisible(), 'no token is asked for').toBe(false);

    await open(page, 'List');
    await run(page);
    await answer(page).toMatch(/"totalCount": \d+/);

    await open(page, 'Watch');
    await run(page);
    await answer(page).toMatch(/"live": true/);

    await open(page, 'Create');
    await run(page);
    await answer(page).toMatch(/"backup": \{[^}]*"name": "my-first-backup"/);

    await open(page, 'Watch');
    await run(page);
    await expect.poll(async () => statuses(await answerText(page)), { timeout: PATIENCE })
      .toEqual(['SUCCESS', 'IN_PROGRESS', 'INITIALIZING']);

    if (process.env.UPDATE_SCREENSHOT) await page.screenshot({ path: 'docs/graphiql.png' });

    const host = new URL(gateway.url).host;
    const fetched = addresses.map((address) => new URL(address)).filter((url) => !['blob:', 'data:'].includes(url.protocol));
    expect(fetched.filter((url) => url.host !== host).map(String), 'no request left for elsewhere').toEqual([]);
    expect(fetched.map(String)).toContain(`ws://${host}/graphql`);
    expect(addresses.filter((address) => address.includes(gateway.token)), 'no address carries the token').toEqual([]);
    expect(complaints, 'the browser has nothing to report, its content policy included').toEqual([]);
    await context.close();
  }, 6 * PATIENCE);

  test('asks for a token when the link had none, and takes a pasted one', async () => {
    const context = await browser.newContext();
    const page = await context.newPage();
    await page.goto(`${gateway.url}/graphql`);
    const form = page.getByRole('form', { name: 'Access token' });
    await form.getByLabel('Access token').fill(gateway.token);
    const schema = page.waitForResponse(async (response) =>
      response.request().headers().authorization === `Bearer ${gateway.token}`);
    await form.getByRole('button').click();
    expect(await (await schema).json()).toHaveProperty('data.__schema');
    expect(await form.isVisible()).toBe(false);
    expect(await page.locator('.graphiql-tab-button').allTextContents()).toEqual(['List', 'Create', 'Watch', 'Restore']);
    await context.close();
  }, 3 * PATIENCE);
});

/** Selects a tab, and waits until GraphiQL has read its document: until then the button would run the one before. */
async function open(page: Page, tab: string): Promise<void> {
  await page.getByRole('tab').getByTitle(tab, { exact: true }).click();
  await page.locator('.graphiql-tab-active').getByTitle(tab, { exact: true }).waitFor();
  await page.locator('.graphiql-query-editor .view-line').first().waitFor();
  // The first tab is read before it is shown. For the others, this is kept in the same turn as the document is read.
  if (tab !== 'List') await expect.poll(() => page.evaluate<string>(`
    Object.entries(localStorage).find(([key]) => key.endsWith(':graphiql:query'))?.[1] ?? ''`), { timeout: PATIENCE })
    .toMatch(new RegExp(`^(mutation|subscription) ${tab}\\b`, 'm'));
}

async function run(page: Page): Promise<void> {
  await page.getByRole('button', { name: /^Execute query/ }).click();
}

/** What the answer pane shows, once it matches. */
function answer(page: Page) {
  return expect.poll(() => answerText(page), { timeout: PATIENCE });
}

/** The text of the answer pane: the editor keeps its lines in any order and sets them with no-break spaces. */
async function answerText(page: Page): Promise<string> {
  return page.evaluate<string>(`
    [...document.querySelectorAll('.graphiql-response .view-line')]
      .sort((one, other) => one.offsetTop - other.offsetTop)
      .map((line) => line.textContent.replaceAll('\\u00a0', ' '))
      .join('\\n')`);
}

/** The statuses that the events on display lead to, newest first. */
function statuses(text: string): string[] {
  return [...text.matchAll(/"to": "(\w+)"/g)].map((match) => match[1] ?? '');
}
