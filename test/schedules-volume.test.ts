/**
 * Scheduled backups on a store whose volume fills up: a real one.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { storesReady } from './support/checks.ts';
import { until, type GatewayProcess } from './support/gateway.ts';
import { finishedBackup } from './support/mutations.ts';
import { finishedBackupsOf, makeSchedule, runSchedule } from './support/schedules.ts';
import { openSite, type Site } from './support/site.ts';
import { isRoot } from './support/tree.ts';

const MEGABYTE = 1024 * 1024;
const VOLUME = 64 * MEGABYTE;

const canMount: boolean = ((): boolean => {
  const can = isRoot && spawnSync('unshare', ['--mount', 'true']).status === 0;
  if (!can && process.env['CI'] !== undefined) throw new Error('The test of a full volume needs root and mount.');
  return can;
})();

let site: Site;
let volume: string;
let gateway: GatewayProcess;
beforeAll(async () => {
  if (!canMount) return;
  site = await openSite({ USERS_CONFIG: [{ directory: './site/users' }] }, [{ name: 'small', type: 'DIRECTORY', path: './volume/backups' }]);
  volume = site.at('volume');
  fs.mkdirSync(volume);
  execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${VOLUME}`, 'tmpfs', volume]);
  fs.mkdirSync(site.at('site/users'), { recursive: true });
  fs.writeFileSync(site.at('site/users/file'), 'content');
  gateway = await site.start();
  await storesReady(gateway);
});
afterAll(async () => {
  await site?.killAll();
  if (volume !== undefined) spawnSync('umount', ['-l', volume]);
  await site?.close();
});

/** Fills the volume up to this share, by something that is no backup, and waits until the worker has seen it. */
async function fill(percent: number): Promise<void> {
  const ballast = join(volume, 'ballast');
  fs.rmSync(ballast, { force: true });
  const { bavail, bsize } = fs.statfsSync(volume);
  fs.writeFileSync(ballast, Buffer.alloc(Math.max(0, Math.ceil((percent / 100) * VOLUME) - (VOLUME - bavail * bsize))));
  const { bavail: free } = fs.statfsSync(volume);
  await until('the worker has seen it', async () => {
    const [store] = await site.sql`select total_bytes, free_bytes from stores where name = 'small'`;
    // Kept to the mebibyte.
    return Number(store?.['total_bytes']) === VOLUME && Number(store?.['free_bytes']) === Math.floor(free * bsize / MEGABYTE) * MEGABYTE;
  });
}

test.skipIf(!canMount)('scheduled backups stop where the volume is 75 percent full, and go on where it no longer is; those on demand do not stop', async () => {
  const id = await makeSchedule(gateway, { name: 'nightly', storeName: 'small' });
  await fill(72);
  expect(await runSchedule(gateway, site.sql, id)).toMatchObject({ lastOutcome: 'STARTED', lastReason: null });
  expect(await finishedBackupsOf(gateway, id)).toHaveLength(1);

  await fill(76);
  expect(await runSchedule(gateway, site.sql, id)).toMatchObject({ lastOutcome: 'SKIPPED', lastReason: expect.stringMatching(/^The volume of store small is 7[5-8]% full; scheduled backups stop at 75%/) });
  expect(await finishedBackupsOf(gateway, id)).toHaveLength(1);
  await finishedBackup(gateway, 'on-demand', { storeName: 'small' });

  await fill(70);
  expect(await runSchedule(gateway, site.sql, id)).toMatchObject({ lastOutcome: 'STARTED' });
  expect(await finishedBackupsOf(gateway, id)).toHaveLength(2);
});
