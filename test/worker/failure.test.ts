/**
 * Jobs that cannot succeed: each ends with a reason that says what to do, and the gateway goes on.
 */
import * as fs from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { until, type GatewayProcess } from '../support/gateway.ts';
import { backupIs, childrenOf, createBackup, createRestore, isWriting, makeBackup, makeIncompressible, openSite, requestRestore, restoreIs, type Site } from '../support/site.ts';
import { describeTree } from '../support/tree.ts';

let site: Site;

beforeAll(async () => {
  site = await openSite({ USERS_CONFIG: [{ directory: './users' }], CUSTOM_RULES_CONFIG: [{ directory: './rules' }] });
  makeIncompressible(site.at('users'), 64, 2);
  makeIncompressible(site.at('rules'), 1);
});
afterEach(() => site.killAll());
afterAll(() => site?.close());

test('without GNU tar the gateway serves, and a backup fails with what to install', async () => {
  const programs = site.at('programs');
  fs.mkdirSync(programs);
  for (const folder of (process.env['PATH'] ?? '').split(':').toReversed()) {
    for (const name of fs.existsSync(folder) ? fs.readdirSync(folder) : []) {
      if (name === 'tar' || name === 'gtar') continue;
      fs.rmSync(join(programs, name), { force: true });
      fs.symlinkSync(join(folder, name), join(programs, name));
    }
  }
  const gateway = await site.start({ PATH: programs });
  expect(gateway.log()).toContain('GNU tar was not found');
  const { id } = await createBackup(gateway, { name: 'no-tar' });
  const backup = await backupIs(gateway, id, ['FAILED', 'SUCCESS']);
  expect(backup).toMatchObject({ status: 'FAILED', job: { status: 'FAILED', error: expect.stringMatching(/no GNU tar.*apt-get install tar/s) } });
  expect(await site.oddities()).toEqual([]);
  // Installed meanwhile: the next one needs no restart.
  fs.symlinkSync('/bin/tar', join(programs, 'tar'));
  await makeBackup(gateway, { name: 'with-tar' });
  fs.rmSync(programs, { recursive: true });
});

/** The tar that writes an archive, not the one that only counts. */
function archivingTar(gateway: GatewayProcess): number | undefined {
  return childrenOf(gateway.process.pid ?? 0, 'tar').find((pid) => fs.readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').includes('--file=-'));
}

test('a source that is not there is named in the reason', async () => {
  const gateway = await site.start();
  fs.renameSync(site.at('rules'), site.at('elsewhere'));
  const { id } = await createBackup(gateway, { name: 'no-source' });
  const backup = await backupIs(gateway, id, ['FAILED', 'SUCCESS']);
  fs.renameSync(site.at('elsewhere'), site.at('rules'));
  expect(backup).toMatchObject({ status: 'FAILED', job: { status: 'FAILED', error: expect.stringContaining(site.at('rules')) } });
  expect(await site.oddities()).toEqual([]);
});

test('a file that vanishes while it is backed up is named in the reason', async () => {
  const gateway = await site.start();
  // tar may be past it before it is stopped: then once more.
  const attempt = async (nth: number): Promise<Awaited<ReturnType<typeof backupIs>>> => {
    fs.writeFileSync(site.at('users/vanishing'), 'the last by name');
    const { id } = await createBackup(gateway, { name: `vanishing-${nth}` });
    // It stands still in the large files before this one.
    const tar = await until('tar reads', () => (isWriting(gateway, 'USERS_CONFIG') ? archivingTar(gateway) : undefined));
    process.kill(tar, 'SIGSTOP');
    fs.rmSync(site.at('users/vanishing'));
    process.kill(tar, 'SIGCONT');
    const backup = await backupIs(gateway, id, ['FAILED', 'SUCCESS']);
    return backup.status === 'SUCCESS' && nth < 5 ? attempt(nth + 1) : backup;
  };
  expect(await attempt(1)).toMatchObject({ status: 'FAILED', job: { status: 'FAILED', error: expect.stringContaining('vanishing') } });
  expect(await site.oddities()).toEqual([]);
});

test('a tar that something ends is told as such', async () => {
  const gateway = await site.start();
  const { id } = await createBackup(gateway, { name: 'ended' });
  process.kill(await until('tar reads', () => archivingTar(gateway)), 'SIGKILL');
  const backup = await backupIs(gateway, id, ['FAILED', 'SUCCESS']);
  expect(backup).toMatchObject({ status: 'FAILED', job: { error: expect.stringContaining('SIGKILL') } });
  expect(await site.oddities()).toEqual([]);
});

test('a store that vanishes under a backup fails it, and what it wrote there goes with the next start', async () => {
  const gateway = await site.start();
  const { id } = await createBackup(gateway, { name: 'store-gone' });
  await until('it is at work', () => isWriting(gateway));
  fs.renameSync(site.at('backups'), site.at('away'));
  const backup = await backupIs(gateway, id, ['FAILED', 'SUCCESS']);
  expect(backup).toMatchObject({ status: 'FAILED', job: { error: expect.stringContaining(site.at('backups')) } });
  fs.renameSync(site.at('away'), site.at('backups'));
  await gateway.stop();
  await site.start();
  expect(await site.oddities()).toEqual([]);
});

test('a restore of a backup that was damaged meanwhile fails, and touches nothing', async () => {
  const gateway = await site.start();
  const backupId = await makeBackup(gateway, { name: 'damaged' });
  const { contentFilePath } = await backupIs(gateway, backupId, ['SUCCESS']);
  const archive = join(contentFilePath, 'USERS_CONFIG.tar.zst');
  const bytes = fs.readFileSync(archive);
  bytes[bytes.length - 100]! ^= 1;
  fs.writeFileSync(archive, bytes);
  fs.writeFileSync(site.at('rules/added'), 'added');
  const before = [describeTree(site.at('users')), describeTree(site.at('rules'))];
  const id = await createRestore(gateway, backupId, ['CUSTOM_RULES_CONFIG', 'USERS_CONFIG']);
  await requestRestore(gateway, id);
  const restore = await restoreIs(gateway, id, ['FAILED', 'SUCCESS']);
  expect(restore).toMatchObject({ status: 'FAILED', job: { status: 'FAILED', error: expect.stringContaining('USERS_CONFIG.tar.zst') } });
  expect([describeTree(site.at('users')), describeTree(site.at('rules'))]).toEqual(before);
  expect(site.restoreLeftovers()).toEqual([]);
});
