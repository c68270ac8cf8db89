/**
 * Workers that stand still until another one has their job, and then go on.
 */
import * as fs from 'node:fs';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { until, type GatewayProcess } from '../support/gateway.ts';
import { backupIs, childrenOf, createBackup, deleteBackup, isWriting, makeBackup, makeIncompressible, openSite, pause, seeded, showBackup, type Site } from '../support/site.ts';
import { describeTree } from '../support/tree.ts';

let site: Site;
const random = seeded(3);

beforeAll(async () => {
  site = await openSite({ USERS_CONFIG: [{ directory: './big' }], CUSTOM_RULES_CONFIG: [{ directory: './more' }] });
  makeIncompressible(site.at('big'), 100);
  makeIncompressible(site.at('more'), 50);
});
afterEach(() => site.killAll());
afterAll(() => site?.close());

/** Two gateways on one backup; the one that works on it stands still after some milliseconds. */
async function stall(name: string, delay: number): Promise<{ id: string; stale: GatewayProcess; other: GatewayProcess }> {
  const pair = await Promise.all([site.start(), site.start()]);
  const { id } = await createBackup(pair[0], { name });
  const stale = await until('one of them works on it', () => pair.find((gateway) => isWriting(gateway)));
  await pause(delay);
  stale.process.kill('SIGSTOP');
  await site.expireLeases();
  return { id, stale, other: stale === pair[0] ? pair[1] : pair[0] };
}

test.each([0, 1])('a worker that wakes up after another one has finished its backup changes nothing (round %i)', async (round) => {
  const { id, stale, other } = await stall(`stale-${round}`, random() * 400 * round);
  const backup = await backupIs(other, id, ['SUCCESS', 'FAILED']);
  expect(backup.status).toBe('SUCCESS');
  const before = describeTree(backup.contentFilePath);
  const { length } = await site.sql`select from transitions`;

  stale.process.kill('SIGCONT');
  // Where it stood still after its last word on the job, it has nothing to lose any more.
  await until('the stale worker has given up, or had ended already', () => stale.log().includes('job lost') || round > 0 && isIdle(stale));
  expect(await showBackup(other, id)).toMatchObject({ status: 'SUCCESS', isValid: true, validityProblems: [], job: { status: 'COMPLETED' } });
  expect(describeTree(backup.contentFilePath)).toEqual(before);
  expect(await site.oddities()).toEqual([]);
  expect((await site.sql`select from transitions`).length).toBe(length);
  // It serves, and works on the next one.
  await other.kill();
  // A look at the store that it stood still in has taken too long; the next one is due soon.
  await until('the store is ready', async () => (await site.sql`select from stores where status <> 'READY'`).length === 0);
  await makeBackup(stale, { name: `after-stale-${round}` });
});

/** Whether a gateway answers, and so has run since it was woken up. */
const isIdle = async (gateway: GatewayProcess): Promise<boolean> => (await fetch(`${gateway.url}/healthz`)).ok && !isWriting(gateway);

test('a worker that wakes up after its backup was deleted leaves nothing in the store', async () => {
  const { id, stale, other } = await stall('stale-deleted', 50);
  await deleteBackup(other, id);
  await site.expireLeases();
  await until('the backup is gone', async () => await showBackup(other, id) === null);
  stale.process.kill('SIGCONT');
  await until('the stale worker has given up', () => stale.log().includes('job lost'));
  expect(await site.oddities()).toEqual([]);
});

test('a backup that a stale worker puts in place in the last moment gives way to that of the worker that holds the job', async () => {
  const gateway = await site.start();
  const former = (await backupIs(gateway, await makeBackup(gateway, { name: 'former' }), ['SUCCESS'])).contentFilePath;
  await gateway.stop();
  const { id, stale, other } = await stall('late', 0);
  await until('the other works on it', () => isWriting(other));
  await stale.kill();
  const [row] = await site.sql`select directory from backups where name = 'late'`;
  const final = site.at('backups', String(row?.['directory']));
  fs.cpSync(former, final, { recursive: true });
  const backup = await backupIs(other, id, ['SUCCESS', 'FAILED']);
  expect(backup).toMatchObject({ status: 'SUCCESS', isValid: true, contentFilePath: `${final}.2` });
  expect(JSON.parse(fs.readFileSync(`${final}.2/manifest.json`, 'utf8'))).toMatchObject({ name: 'late', job: { attempt: 2 } });
  expect(fs.existsSync(final)).toBe(false);
  expect(await site.oddities()).toEqual([]);
});

test('a worker that wakes up to a failure of its own does not take away what another one has finished', async () => {
  const { id, stale, other } = await stall('stale-failing', 50);
  const backup = await backupIs(other, id, ['SUCCESS', 'FAILED']);
  expect(backup.status).toBe('SUCCESS');
  // It learns of this before it can learn that it has lost the job.
  for (const tar of childrenOf(stale.process.pid ?? 0, 'tar')) process.kill(tar, 'SIGKILL');
  stale.process.kill('SIGCONT');
  await until('the stale worker has given up', () => stale.log().includes('job lost'));
  expect(await showBackup(other, id)).toMatchObject({ status: 'SUCCESS', job: { status: 'COMPLETED' } });
  expect(await site.oddities()).toEqual([]);
});
