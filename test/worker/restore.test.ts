/**
 * What backups and restores bring back, and what they tell on the way.
 */
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import * as fs from 'node:fs';
import { createServer } from 'node:net';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { GatewayProcess } from '../support/gateway.ts';
import { createBackup, createRestore, deleteBackup, makeBackup, makeIncompressible, openSite, requestRestore, restoreIs, showJob, type Site } from '../support/site.ts';
import { describeTree, makeOddTree, spoilOddTree, tarPrint } from '../support/tree.ts';

let site: Site;
let gateway: GatewayProcess;

beforeAll(async () => {
  site = await openSite({
    USERS_CONFIG: [{ directory: './site/odd' }, { file: './site/single.conf' }],
    CUSTOM_RULES_CONFIG: [{ directory: './site/rules' }],
    ASSETS_DATA: [{ directory: './site/assets' }],
    REPORT_TEMPLATES: [{ directory: './site/large' }],
  });
  makeOddTree(site.at('site/odd'));
  fs.writeFileSync(site.at('site/single.conf'), 'single\n', { mode: 0o640 });
  execFileSync('touch', ['-d', '@1234567890.123456789', site.at('site/single.conf')]);
  for (const name of ['rules', 'assets']) {
    fs.mkdirSync(site.at('site', name, 'sub'), { recursive: true });
    for (let nth = 0; nth < 300; nth += 1) fs.writeFileSync(site.at('site', name, 'sub', `file-${nth}`), `${name} ${nth}`);
  }
  makeIncompressible(site.at('site/large'), 80, 4);
  gateway = await site.start();
});
afterAll(async () => {
  if (site !== undefined) execFileSync('chmod', ['-R', 'u+rwX', '--', site.at('site')]);
  await site?.close();
});

const parts = ['site/odd', 'site/single.conf', 'site/rules', 'site/assets'];
const whole = () => parts.map((part) => describeTree(site.at(part)));

/** Follows a job to its end. */
async function follow(jobId: string): Promise<any[]> {
  const events: any[] = [];
  const source = `subscription ($id: ID!) { jobProgressed(id: $id) { status progress { percent bytesDone bytesTotal filesDone filesTotal } } }`;
  for await (const { data } of gateway.socket().iterate({ query: source, variables: { id: jobId } })) events.push((data as any).jobProgressed);
  return events;
}

/** Progress goes up and ends at 100 percent, of so many files. */
function expectProgress(events: any[], files: number): void {
  const shares = events.flatMap(({ progress }) => progress?.percent ?? []);
  expect(shares).toEqual(shares.toSorted((a, b) => a - b));
  expect(events.at(-1)).toMatchObject({ status: 'COMPLETED', progress: { percent: 100, filesDone: files, filesTotal: files } });
  const { bytesDone, bytesTotal } = events.at(-1).progress;
  expect(bytesDone).toBe(bytesTotal);
  expect(shares.some((share) => share < 100)).toBe(true);
}

/** Names in a tree that are no directories, as its archive holds them. */
const filesBelow = (path: string): number => execFileSync('find', [path, '!', '-type', 'd', '!', '-type', 's', '-printf', 'x']).length;

test('two of three groups come back exactly as they were, directories and a single file, and the third stays as it is now', async () => {
  const before = whole();
  const prints = parts.filter((part) => fs.statSync(site.at(part)).isDirectory()).map((part) => tarPrint(site.at(part)));
  const { id: backupId, jobId } = await createBackup(gateway, { name: 'exact' });
  const made = await follow(jobId);
  expectProgress(made, ['odd', 'single.conf', 'rules', 'assets', 'large'].reduce((sum, name) => sum + filesBelow(site.at('site', name)), 0));

  spoilOddTree(site.at('site/odd'));
  fs.rmSync(site.at('site/single.conf'));
  fs.rmSync(site.at('site/rules'), { recursive: true });
  fs.writeFileSync(site.at('site/assets/added'), 'of another group');
  const assets = describeTree(site.at('site/assets'));
  const id = await createRestore(gateway, backupId, ['USERS_CONFIG', 'CUSTOM_RULES_CONFIG']);
  const restoreJob = await requestRestore(gateway, id);
  const restored = await follow(restoreJob);
  expect(await restoreIs(gateway, id, ['SUCCESS', 'FAILED'])).toMatchObject({ status: 'SUCCESS' });
  expect(whole()).toEqual([...before.slice(0, 3), assets]);
  expect(prints.slice(0, 2)).toEqual(['site/odd', 'site/rules'].map((part) => tarPrint(site.at(part))));
  expectProgress(restored, ['odd', 'single.conf', 'rules'].reduce((sum, name) => sum + filesBelow(site.at('site', name)), 0));
  expect(site.restoreLeftovers('site')).toEqual([]);
});

test('a deletion tells no progress, and completes', async () => {
  const id = await makeBackup(gateway, { name: 'deleted' });
  const job = await deleteBackup(gateway, id);
  const events = await follow(job);
  expect(events.at(-1)).toMatchObject({ status: 'COMPLETED' });
  expect(await showJob(gateway, job)).toMatchObject({ operation: 'DELETE', status: 'COMPLETED', error: null });
});

test('what is left out of a backup is among its job\'s messages', async () => {
  const listener = createServer().listen(site.at('site/odd/socket'));
  await once(listener, 'listening');
  try {
    const { jobId } = await createBackup(gateway, { name: 'socket' });
    await follow(jobId);
    expect(await showJob(gateway, jobId)).toMatchObject({ status: 'COMPLETED', messages: [expect.stringContaining('socket')] });
  } finally {
    listener.close();
  }
});
