/** The client as others get it: packed, installed, bundled. */
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { build, transform } from 'esbuild';
import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { browserMissing, launchBrowser } from '../support/browser.ts';
import { openGatewayDatabase, type TestDatabase } from '../support/database.ts';
import { addBackup, changesInTable, feedCursor, flip, positionOf } from '../support/feed.ts';
import { startGateway, until, type TestGateway } from '../support/gateway.ts';
import { startWay } from '../support/way.ts';

const run = promisify(execFile);
const ROOT = fileURLToPath(new URL('../..', import.meta.url));

let home: string;
let gateway: TestGateway;
let database: TestDatabase;
beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), 'backup-gateway-client-'));
  const modules = join(home, 'node_modules');
  await mkdir(join(modules, 'backup-gateway'), { recursive: true });
  const { stdout } = await run('npm', ['pack', '--json', '--pack-destination', home], { cwd: ROOT, maxBuffer: 64 * 1024 * 1024 });
  const [{ filename }] = JSON.parse(stdout) as [{ filename: string }];
  await run('tar', ['-xf', join(home, filename), '-C', join(modules, 'backup-gateway'), '--strip-components=1']);
  await symlink(join(ROOT, 'node_modules/graphql-ws'), join(modules, 'graphql-ws'));
  gateway = await startGateway();
  database = await openGatewayDatabase(gateway.dataDir);
}, 120_000);
afterAll(async () => {
  await database?.close();
  await gateway?.stop();
  await rm(home, { recursive: true, force: true });
});

test('is below 5,000 bytes of our own', async () => {
  const { code } = await transform(await readFile(join(ROOT, 'client/index.js'), 'utf8'), { minify: true, format: 'esm' });
  expect(Buffer.byteLength(code)).toBeLessThan(5_000);
});

test('runs in Node from the packed package, and lets the process end', async () => {
  await writeFile(join(home, 'program.mjs'), `
    import { createGatewayClient } from 'backup-gateway/client';
    const client = createGatewayClient({ url: ${JSON.stringify(gateway.url)}, token: ${JSON.stringify(gateway.token)} });
    const { feedCursor } = await client.query('{ feedCursor }');
    const events = client.watch('subscription ($id: ID, $after: String) { backupStatusChanged(id: $id, after: $after) { cursor to } }', { id: process.argv[2] });
    const { value } = await events.next();
    console.log(value.to, value.cursor === feedCursor);
    client.dispose();
  `);
  const { id } = await addBackup(database);
  const { stdout, stderr } = await run(process.execPath, [join(home, 'program.mjs'), id], { cwd: home, timeout: 20_000 });
  expect({ stdout, stderr }).toEqual({ stdout: 'SUCCESS true\n', stderr: '' });
});

test('has types that know a typed document, and refuse what it does not take', async () => {
  await writeFile(join(home, 'program.ts'), `
    import { createGatewayClient, GatewayClientError, type EventOf, type TypedDocument } from 'backup-gateway/client';
    declare class TypedText<Result, Variables> extends String { __apiType?: (variables: Variables) => Result; }
    interface Changed { backupStatusChanged: { cursor: string; to: 'SUCCESS' | 'FAILED' | null } }
    declare const Watch: TypedText<Changed, { id: string; after?: string | null | undefined }>;
    declare const Free: TypedText<Changed, { after?: string | null }>;
    declare const List: TypedText<{ feedCursor: string }, { [key: string]: never }>;
    const client = createGatewayClient({ url: '/graphql', token: async () => 'x' });
    const { feedCursor } = await client.query(List);
    const after: string = feedCursor;
    for await (const { to } of client.watch(Watch, { id: '1', after }, { onLost: ({ code }, attempt) => console.log(code.length, attempt + 1) })) {
      const status: 'SUCCESS' | 'FAILED' | null = to;
      // @ts-expect-error there is no such status
      if (to === 'DONE') console.log(status);
    }
    client.watch(Free);
    client.watch(Free, {}, { resume: true });
    client.watch<Changed>('subscription …', { anything: 1 });
    const document: TypedDocument<Changed, { id: string }> = Watch;
    const event = (await client.watch(document, { id: '1' }).next()).value as EventOf<Changed>;
    if (event.to === 'FAILED') throw new GatewayClientError('X', 'y');
    // @ts-expect-error a variable is missing
    client.watch(Watch);
    // @ts-expect-error a variable of another type
    client.watch(Watch, { id: 1 });
    // @ts-expect-error a variable that it does not have
    client.watch(Watch, { id: '1', name: 'x' });
    // @ts-expect-error it takes no variables
    void client.query(List, { id: '1' });
    // @ts-expect-error a field that was not asked for
    console.log(event.from);
  `);
  const options = { strict: true, noEmit: true, target: 'es2022', lib: ['es2022', 'dom'], types: [], skipLibCheck: false };
  for (const [module, moduleResolution] of [['nodenext', 'nodenext'], ['esnext', 'bundler']]) {
    await writeFile(join(home, 'tsconfig.json'), JSON.stringify({ compilerOptions: { ...options, module, moduleResolution }, files: ['program.ts'] }));
    await writeFile(join(home, 'package.json'), '{ "type": "module" }');
    const found = await run(process.execPath, [join(ROOT, 'node_modules/typescript/bin/tsc'), '-p', home], { cwd: home }).then(() => '', ({ stdout }: { stdout: string }) => stdout);
    expect(found).toBe('');
  }
});

const missing = browserMissing();
if (missing) console.warn(`Skipped: the client in a browser. ${missing}`);

describe.skipIf(missing)('bundled for a browser', () => {
  let browser: Browser;
  // Installing a browser, where that is needed, takes minutes.
  beforeAll(async () => { browser = await launchBrowser(); }, 300_000);
  afterAll(() => browser?.close());

  test('is resumed after each cut, on a page of another origin', async () => {
    const bundle = await build({
      stdin: { contents: "export { createGatewayClient } from 'backup-gateway/client';", resolveDir: home },
      bundle: true, minify: true, write: false, platform: 'browser', format: 'iife', globalName: 'gatewayClient', metafile: true,
    });
    // The whole of it, graphql-ws included.
    expect(bundle.outputFiles[0]?.contents.length).toBeLessThan(20_000);
    const pages = createServer((_request, response) => { response.setHeader('content-type', 'text/html').end(`<!doctype html><script>${bundle.outputFiles[0]?.text}</script>`); });
    await once(pages.listen(0, '127.0.0.1'), 'listening');
    const way = await startWay(gateway.url);
    const page = await browser.newPage();
    const complaints: string[] = [];
    page.on('pageerror', (error) => complaints.push(error.message));
    try {
      const { number } = await addBackup(database);
      const after = await feedCursor(gateway);
      await page.goto(`http://127.0.0.1:${(pages.address() as AddressInfo).port}/`);
      await page.evaluate(({ url, token }) => {
        const scope = globalThis as any;
        const client = scope.gatewayClient.createGatewayClient({ url, token: () => token });
        Object.assign(scope, { client, cursors: [], caughtUp: 0 });
        void (async () => {
          const { feedCursor: after } = await client.query('{ feedCursor }');
          const text = 'subscription ($after: String) { backupStatusChanged(after: $after) { cursor to } }';
          for await (const { cursor } of client.watch(text, { after }, { onCaughtUp: () => { scope.caughtUp += 1; } })) scope.cursors.push(cursor);
          scope.hasEnded = true;
        })();
      }, { url: way.url, token: gateway.token });
      const caughtUp = () => page.evaluate(() => (globalThis as any).caughtUp as number);
      for (let round = 1; round <= 10; round += 1) {
        await until('the page is caught up', async () => await caughtUp() >= round);
        const flipping = flip(database, number, 10, { together: false });
        await until('there is something to cut', () => way.open > 0);
        way.cut();
        await flipping;
      }
      const expected = (await changesInTable(database, 'BACKUP', positionOf(after))).map(({ position }) => position);
      const cursors = () => page.evaluate(() => (globalThis as any).cursors as string[]);
      await until('everything has come', async () => (await cursors()).length >= expected.length);
      expect((await cursors()).map(positionOf)).toEqual(expected);
      await page.evaluate(() => { (globalThis as any).client.dispose(); });
      await until('the watch has ended', () => page.evaluate(() => (globalThis as any).hasEnded as boolean));
      expect(complaints).toEqual([]);
    } finally {
      await page.close();
      await way.close();
      pages.close();
    }
  });
});
