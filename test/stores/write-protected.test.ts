/**
 * A directory store that can be read and not written, as a disk that is mounted read-only after a disaster.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import * as fs from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { STORE_MARK } from '../../src/engine/index.ts';
import { catalogue, ended, scan, storesReady, verify } from '../support/checks.ts';
import { openGatewayDatabase } from '../support/database.ts';
import { makeGatedSite, type GatedSite } from '../support/gated-site.ts';
import { newDataDir, startGateway, until, type TestGateway } from '../support/gateway.ts';
import { codesOf, done, finishedBackup, send } from '../support/mutations.ts';
import { makeSchedule, runSchedule } from '../support/schedules.ts';
import { isRoot } from '../support/tree.ts';

const canMount = isRoot && spawnSync('unshare', ['--mount', 'true']).status === 0;

describe.skipIf(!canMount)('an empty gateway on a store that is write-protected (needs the superuser)', () => {
  let site: GatedSite;
  let dataDir: string;
  let gateway: TestGateway;
  let made: Record<string, any>;
  const path = (): string => join(site.directory, 'backups');
  const remount = (how: 'ro' | 'rw') => execFileSync('mount', ['-o', `remount,${how}`, path()]);
  const storeNow = async () =>
    (await gateway.query('{ backupStores { nodes { name status statusDetail isScanned } } }')).data.backupStores.nodes.find(({ name }: { name: string }) => name === 'default');

  beforeAll(async () => {
    site = await makeGatedSite();
    fs.mkdirSync(path());
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=64m', 'tmpfs', path()]);
    const first = await startGateway(site.options);
    await finishedBackup(first, 'plain');
    await finishedBackup(first, 'data', { type: 'DATA', hostId: 2 });
    made = await catalogue(first);
    await first.stop();
    // As one that an earlier version has made.
    fs.rmSync(join(path(), STORE_MARK));
    remount('ro');
    dataDir = await newDataDir();
    gateway = await startGateway({ dataDir, env: site.options.env });
  });
  afterAll(async () => {
    await gateway?.stop();
    if (site !== undefined) spawnSync('umount', ['-l', path()]);
    await site?.remove();
    if (dataDir !== undefined) await rm(dataDir, { recursive: true, force: true });
  });

  test('gets back all that is in it at the start, by itself', async () => {
    await until('the store is scanned', async () => (await storeNow()).isScanned);
    expect(Object.keys(await catalogue(gateway)).toSorted()).toEqual(Object.keys(made).toSorted());
    expect(await storeNow()).toMatchObject({ status: 'UNREACHABLE', statusDetail: expect.stringContaining('is write-protected: its backups can be read') });
  });

  test('verifies what is in it, by hand, by scan and by schedule', async () => {
    const { id } = (await gateway.query('{ backupByName(name: "plain") { id } }')).data.backupByName;
    expect(await verify(gateway, id)).toMatchObject({ status: 'COMPLETED' });
    expect(await scan(gateway)).toMatchObject({ status: 'COMPLETED', scan: { known: 2 } });
    const database = await openGatewayDatabase(dataDir);
    try {
      const own = await makeSchedule(gateway, { name: 'of-it', operation: 'VERIFY', storeName: 'default' });
      expect(await runSchedule(gateway, database.sql, own)).toMatchObject({ lastOutcome: 'STARTED' });
      await until('its verifications have ended', async () => (await database.sql`select from jobs where operation = 'VERIFY' and status <> 'COMPLETED'`).length === 0);
      const all = await makeSchedule(gateway, { name: 'of-all', operation: 'VERIFY' });
      expect(await runSchedule(gateway, database.sql, all)).toMatchObject({ lastOutcome: 'STARTED' });
      const backups = await makeSchedule(gateway, { name: 'backups', storeName: 'default' });
      expect(await runSchedule(gateway, database.sql, backups)).toMatchObject({ lastOutcome: 'REFUSED' });
    } finally {
      await database.close();
    }
  });

  test('refuses what writes, and says why', async () => {
    expect(codesOf(await send(gateway, 'createBackup', { name: 'new', type: 'CONFIG', configurationId: 1 }))).toEqual([2005]);
    const { id } = (await gateway.query('{ backupByName(name: "data") { id } }')).data.backupByName;
    const deletion = await ended(gateway, (await done(gateway, 'deleteBackup', { id })).job.id);
    expect(deletion).toMatchObject({ status: 'FAILED', error: expect.stringContaining('is write-protected') });
    expect(Object.entries(await catalogue(gateway)).map(([name, { status }]) => [name, status]).toSorted()).toEqual([['data', 'SUCCESS'], ['plain', 'SUCCESS']]);
  });

  test('writes to it, and marks it, once it may', async () => {
    remount('rw');
    await storesReady(gateway);
    await finishedBackup(gateway, 'new');
    expect(fs.existsSync(join(path(), STORE_MARK))).toBe(true);
  });
});
