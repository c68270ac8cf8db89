/**
 * A store whose directory is a mount point: what lies beneath while nothing is mounted is not the store.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { STORE_MARK } from '../../src/engine/index.ts';
import { ended, storesReady } from '../support/checks.ts';
import { makeGatedSite, type GatedSite } from '../support/gated-site.ts';
import { startGateway, until, type TestGateway } from '../support/gateway.ts';
import { codesOf, done, finishedBackup, reached, send } from '../support/mutations.ts';
import { isRoot } from '../support/tree.ts';

const canMount = isRoot && spawnSync('unshare', ['--mount', 'true']).status === 0;

let site: GatedSite;
let gateway: TestGateway;
let mounted: string | null = null;
const path = (...names: string[]): string => join(site.directory, 'backups', ...names);
const mount = (): void => {
  execFileSync('mount', ['--bind', join(site.directory, 'disk'), path()]);
  mounted = path();
};
const unmount = (): void => {
  // An event of the watcher, or a look under way, may hold it for a moment.
  execFileSync('umount', ['-l', path()]);
  mounted = null;
};
const storeNow = async () =>
  (await gateway.query('{ backupStores { nodes { name status statusDetail } } }')).data.backupStores.nodes.find(({ name }: { name: string }) => name === 'default');
const isDoubted = () => until('the store is UNREACHABLE', async () => {
  const store = await storeNow();
  return store.status === 'UNREACHABLE' && /is its file system mounted\?/.test(store.statusDetail) && store;
});
const statuses = async () => Object.fromEntries((await gateway.query('{ backups { nodes { name status } } }')).data.backups.nodes.map(({ name, status }: any) => [name, status]));

async function start(env: Record<string, string> = {}): Promise<void> {
  gateway = await startGateway({ ...site.options, env: { ...site.options.env, ...env } });
  await until('the stores are looked at', async () => !/No worker/.test((await storeNow()).statusDetail ?? ''));
}

afterEach(async () => {
  await site?.release();
  await gateway?.stop();
  if (mounted !== null) spawnSync('umount', ['-l', mounted]);
  mounted = null;
  await site?.remove();
});

describe.skipIf(!canMount)('a store that is a mount point (needs the superuser)', () => {
  test('is UNREACHABLE while nothing is mounted: its backups keep their status, and nothing is written or removed beneath', async () => {
    site = await makeGatedSite();
    for (const name of ['backups', 'disk']) fs.mkdirSync(join(site.directory, name));
    mount();
    await start();
    await storesReady(gateway);
    expect(fs.existsSync(path(STORE_MARK))).toBe(true);
    await finishedBackup(gateway, 'one');
    const { id } = (await gateway.query('{ backupByName(name: "one") { id } }')).data.backupByName;

    unmount();
    const { statusDetail } = await isDoubted();
    expect(statusDetail).toContain(`touch ${path(STORE_MARK)}`);
    expect(codesOf(await send(gateway, 'createBackup', { name: 'beneath', type: 'CONFIG', configurationId: 1 }))).toEqual([2005]);
    for (const [name, input] of [['verifyBackup', { id }], ['scanStore', {}], ['deleteBackup', { id }]] as const) {
      const { job } = await done(gateway, name, input);
      expect(await ended(gateway, job.id), name).toMatchObject({ status: 'FAILED', error: expect.stringContaining('is its file system mounted?') });
    }
    // A start, too, finds a directory and does not take it for the store.
    await gateway.stop();
    await start();
    await isDoubted();
    expect(await statuses()).toEqual({ one: 'SUCCESS' });
    expect(fs.readdirSync(path())).toEqual([]);

    mount();
    await storesReady(gateway);
    await finishedBackup(gateway, 'two');
    expect(await statuses()).toEqual({ one: 'SUCCESS', two: 'SUCCESS' });
  });

  test('takes no backup that is asked for before anybody has seen that it is not mounted', async () => {
    site = await makeGatedSite();
    for (const name of ['backups', 'disk']) fs.mkdirSync(join(site.directory, name));
    mount();
    await start();
    await storesReady(gateway);
    await finishedBackup(gateway, 'one');
    unmount();
    // The store is READY until the next look, which may just be under way.
    const { job } = await send(gateway, 'createBackup', { name: 'late', type: 'CONFIG', configurationId: 1 });
    if (job !== undefined) expect(await ended(gateway, job.id)).toMatchObject({ status: 'FAILED', error: expect.stringContaining('is its file system mounted?') });
    expect(fs.readdirSync(path())).toEqual([]);
  });
});

describe('a store without its mark', () => {
  test('that is declared at another path begins there, whatever was in the former place', async () => {
    site = await makeGatedSite();
    await start();
    const id = await finishedBackup(gateway, 'one');
    await gateway.stop();
    await site.edit((file) => { Object.assign(file.stores[0]!, { path: './moved' }); });
    await start({ DEPLOY_ON_START: 'true' });
    await storesReady(gateway);
    expect(fs.existsSync(join(site.directory, 'moved', STORE_MARK))).toBe(true);
    await reached(gateway, 'backup', id, 'MISSING');
    await finishedBackup(gateway, 'two');
  });

  test('that was in use before there were marks goes on, and gets one', async () => {
    site = await makeGatedSite();
    await start();
    await finishedBackup(gateway, 'one');
    await gateway.stop();
    fs.rmSync(path(STORE_MARK));
    await start();
    await storesReady(gateway);
    expect(fs.existsSync(path(STORE_MARK))).toBe(true);
    expect(await statuses()).toEqual({ one: 'SUCCESS' });
  });

  test('that was emptied on purpose is used again once its mark is made by hand; its backups are MISSING then', async () => {
    site = await makeGatedSite();
    await start();
    const id = await finishedBackup(gateway, 'one');
    fs.rmSync(path(), { recursive: true });
    fs.mkdirSync(path());
    await isDoubted();
    expect(await statuses()).toEqual({ one: 'SUCCESS' });
    fs.writeFileSync(path(STORE_MARK), '');
    await storesReady(gateway);
    await reached(gateway, 'backup', id, 'MISSING');
    await finishedBackup(gateway, 'two');
  });
});
