/**
 * Scans, plans, retention, and the look whether backups are still there, on a store in S3.
 */
import { join } from 'node:path';
import * as fs from 'node:fs';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { look, scan, storesReady } from '../support/checks.ts';
import { until, type GatewayProcess } from '../support/gateway.ts';
import { done, reached } from '../support/mutations.ts';
import { openScene } from '../support/object-store-scene.ts';
import { noObjectStore } from '../support/object-store.ts';
import { backupIs, makeBackup, openSite, showJob, type Site } from '../support/site.ts';
import { numberOf } from '../support/schedules.ts';

const PASSCODE = 'correct horse battery staple';
const story = test.skipIf(noObjectStore !== '');
const scene = openScene();

let site: Site;
let gateway: GatewayProcess;
beforeAll(async () => {
  if (noObjectStore !== '') return;
  site = await openSite({ USERS_CONFIG: [{ directory: './site/users' }] }, [
    { name: 'cloud', type: 'S3', bucket: 'backups', prefix: 'site', endpoint: scene.proxy.url, forcePathStyle: true },
  ]);
  fs.mkdirSync(site.at('site/users'), { recursive: true });
  for (const name of ['kept', 'altered', 'removed']) fs.writeFileSync(site.at('site/users', name), `${name} as it was backed up`);
  gateway = await site.start(scene.server.env);
  await storesReady(gateway);
});
beforeEach(() => {
  if (scene.proxy !== undefined) scene.proxy.seen.length = 0;
});
afterAll(() => site?.close());

const make = (name: string, more: object = {}): Promise<string> => makeBackup(gateway, { name, storeName: 'cloud', ...more });
/** The keys of a backup's objects. */
async function keysOf(id: string): Promise<string[]> {
  const { contentFilePath } = await look(gateway, id, 'contentFilePath');
  return scene.server.contents(`${contentFilePath.replace('s3://backups/', '')}/`);
}
/** Takes a backup off the catalogue, whose files stay. */
async function forget(id: string): Promise<void> {
  await site.sql`update backups set status = 'DELETING' where id = ${numberOf(id)}`;
  await site.sql`delete from backups where id = ${numberOf(id)}`;
}
async function find(name: string): Promise<any> {
  const { data } = await gateway.query('query ($name: String!) { backupByName(name: $name) { id status isValid validityProblems isEncrypted contentFilePath groups } }', { name });
  return data.backupByName;
}

story(`a scan enters what the catalogue does not have, damage and key included, and a plan of it opens by its passcode ${noObjectStore}`, async () => {
  const [sealed, damaged, known] = [await make('sealed', { passcode: PASSCODE }), await make('damaged'), await make('known')];
  const [archive] = await keysOf(damaged);
  const bytes = await scene.server.get(archive!);
  bytes[bytes.length >> 1]! ^= 1;
  await scene.server.put(archive!, bytes);
  const before = await find('sealed');
  for (const id of [sealed, damaged]) await forget(id);

  expect(await scan(gateway, 'cloud')).toMatchObject({ status: 'COMPLETED', scan: { found: 2, known: 1, damaged: 1, foreign: 0, ignored: 0 }, error: null });
  const found = await find('sealed');
  expect(found).toEqual({ ...before, id: found.id });
  expect(await find('damaged')).toMatchObject({ status: 'SUCCESS', isValid: false, validityProblems: ['DIGEST_MISMATCH'] });
  expect(await scan(gateway, 'cloud')).toMatchObject({ status: 'COMPLETED', scan: { found: 0, known: 3 } });

  fs.writeFileSync(site.at('site/users/altered'), 'another content');
  fs.rmSync(site.at('site/users/removed'));
  fs.writeFileSync(site.at('site/users/added'), 'since');
  const { groups } = await done(gateway, 'restorePlan', { backupId: found.id, groups: ['USERS_CONFIG'], passcode: PASSCODE });
  const at = (name: string) => ({ count: 1, paths: [join(site.at('site/users'), name)] });
  expect(groups).toMatchObject([{ added: at('removed'), changed: at('altered'), removed: at('added'), unchanged: 2 }]);
  expect((await backupIs(gateway, known, ['SUCCESS'])).isValid).toBe(true);
});

story('retention removes what has had its time, every object of it, and leaves the others', async () => {
  const [old, young] = [await make('old'), await make('young')];
  const [gone, left] = [await keysOf(old), await keysOf(young)];
  await site.sql`update backups set retention_date = now() - interval '1 minute' where id = ${numberOf(old)}`;
  const { job } = await done(gateway, 'applyRetention', {});
  await reached(gateway, 'job', job.id, 'COMPLETED');
  expect((await showJob(gateway, job.id)).messages).toEqual([expect.stringMatching(/^old: /), 'Removed 1 backup, each by a DELETE job of its own.']);
  await until('it is gone', async () => await find('old') === null);
  const keys = await scene.server.contents('site/');
  expect(keys.filter((key) => gone.includes(key))).toEqual([]);
  expect(keys.filter((key) => left.includes(key))).toEqual(left);
});

story('whether all backups are there is asked by one list, and only what it lacks by itself', async () => {
  const ids = [await make('first'), await make('second'), await make('third')];
  const manifest = (await keysOf(ids[1]!)).find((key) => key.endsWith('/manifest.json'))!;
  const content = await scene.server.get(manifest);
  const single = (): string[] => scene.proxy.seen.filter((line) => line.startsWith('HEAD ') && line.includes('/manifest.json'));
  const restart = async (): Promise<void> => {
    await gateway.stop();
    scene.proxy.seen.length = 0;
    gateway = await site.start(scene.server.env);
  };
  await gateway.stop();
  await scene.server.delete(manifest);
  await restart();
  await backupIs(gateway, ids[1]!, ['MISSING']);
  expect(single()).toEqual([expect.stringContaining(manifest)]);
  // What is missing is found by the list, too.
  await gateway.stop();
  await scene.server.put(manifest, content);
  await restart();
  await backupIs(gateway, ids[1]!, ['SUCCESS']);
  expect(single().filter((line) => !line.includes(manifest))).toEqual([]);
});
