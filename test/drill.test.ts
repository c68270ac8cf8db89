/**
 * Restore drills: what they prove, and that nothing of them is left behind.
 */
import * as fs from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { drill, ended, filesOf, flipBit, look } from './support/checks.ts';
import { startGateway, until, type TestGateway } from './support/gateway.ts';
import { makeGatedSite, type GatedSite } from './support/gated-site.ts';
import { done, finishedBackup, gone, reached, RuleWitness } from './support/mutations.ts';
import { backupIs, createBackup, makeIncompressible, openSite } from './support/site.ts';
import { describeTree } from './support/tree.ts';

const PASSCODE = 'correct horse';
const witness = new RuleWitness();
let site: GatedSite;
let gateway: TestGateway;
beforeAll(async () => {
  site = await makeGatedSite();
  gateway = await startGateway(site.options);
});
afterEach(async () => {
  await site.release();
  expect(scratch()).toEqual([]);
});
afterAll(async () => {
  await gateway?.stop();
  await site?.remove();
});

const scratch = (): string[] => {
  const directory = join(site.options.dataDir, 'drills');
  return fs.existsSync(directory) ? fs.readdirSync(directory) : [];
};

describe('a drill', () => {
  test('unpacks and compares everything in a backup, and touches no target', async () => {
    const id = await finishedBackup(gateway, 'whole');
    const before = describeTree(join(site.directory, 'site'));
    const job = await drill(gateway, { backupId: id });
    expect(job).toMatchObject({ status: 'COMPLETED', error: null, messages: [], backup: { id } });
    const { lastDrill } = await look(gateway, id);
    expect(lastDrill).toMatchObject({ isSuccessful: true, files: 3, reason: null });
    expect(lastDrill.bytes).toBeGreaterThan(1024 * 1024);
    expect(lastDrill.seconds).toBeGreaterThan(0);
    expect(describeTree(join(site.directory, 'site'))).toEqual(before);
  });

  test('can be of some groups of a backup', async () => {
    const id = await finishedBackup(gateway, 'some');
    expect(await drill(gateway, { backupId: id, groups: ['DEPLOYMENT_CONFIG'] })).toMatchObject({ status: 'COMPLETED' });
    expect((await look(gateway, id)).lastDrill).toMatchObject({ isSuccessful: true, files: 1 });
  });

  test("can be of a host's data", async () => {
    const id = await finishedBackup(gateway, 'data', { type: 'DATA', hostId: 2 });
    expect(await drill(gateway, { backupId: id })).toMatchObject({ status: 'COMPLETED' });
    expect((await look(gateway, id)).lastDrill).toMatchObject({ isSuccessful: true, files: 1 });
  });

  test('of an encrypted backup needs its passcode', async () => {
    const id = await finishedBackup(gateway, 'encrypted', { storeName: 'vault', passcode: PASSCODE });
    await witness.expectBroken(gateway, 'drillRestore', { backupId: id }, [2002, 'PASSCODE_REQUIRED', 'passcode']);
    await witness.expectBroken(gateway, 'drillRestore', { backupId: id, passcode: 'wrong horse' }, [2007, 'PASSCODE_WRONG', 'passcode']);
    expect(await drill(gateway, { backupId: id, passcode: PASSCODE })).toMatchObject({ status: 'COMPLETED' });
    expect((await look(gateway, id)).lastDrill).toMatchObject({ isSuccessful: true, files: 3 });
  });

  test('of a damaged backup fails, and says which file', async () => {
    const id = await finishedBackup(gateway, 'damaged');
    const archive = filesOf(await look(gateway, id)).find((file) => file.includes('USERS_CONFIG'))!;
    flipBit(archive);
    const job = await drill(gateway, { backupId: id });
    expect(job.status).toBe('FAILED');
    expect(job.error).toContain('USERS_CONFIG.tar.zst');
    expect((await look(gateway, id)).lastDrill).toMatchObject({ isSuccessful: false, files: 0, bytes: 0, reason: job.error });
    // What is whole of it can still be drilled.
    expect(await drill(gateway, { backupId: id, groups: ['DEPLOYMENT_CONFIG'] })).toMatchObject({ status: 'COMPLETED' });
    expect((await look(gateway, id)).lastDrill).toMatchObject({ isSuccessful: true });
  });

  test('that is cancelled removes what it has unpacked, and reports nothing', async () => {
    const id = await finishedBackup(gateway, 'cancelled');
    await site.hold('--compare');
    const { job } = await done(gateway, 'drillRestore', { backupId: id });
    await until('something is unpacked', () => scratch().length > 0);
    await witness.expectBroken(gateway, 'drillRestore', { backupId: id }, [2015, 'DRILL_IN_PROGRESS', 'backupId']);
    await done(gateway, 'cancelJob', { id: job.id });
    expect(await ended(gateway, job.id)).toMatchObject({ status: 'CANCELLED' });
    expect((await look(gateway, id)).lastDrill).toBeNull();
  });

  test('gives way to the deletion of its backup', async () => {
    const id = await finishedBackup(gateway, 'deleted');
    await site.hold('--compare');
    const { job } = await done(gateway, 'drillRestore', { backupId: id });
    await until('something is unpacked', () => scratch().length > 0);
    await done(gateway, 'deleteBackup', { id });
    await gone(gateway, 'backup', id);
    expect(await ended(gateway, job.id)).toMatchObject({ status: 'CANCELLED' });
  });

  test('runs beside a restore of the same backup', async () => {
    const id = await finishedBackup(gateway, 'beside');
    await site.hold('--compare');
    const { job } = await done(gateway, 'drillRestore', { backupId: id });
    await until('something is unpacked', () => scratch().length > 0);
    const { restore } = await done(gateway, 'createRestore', { backupId: id, groups: ['USERS_CONFIG'] });
    await done(gateway, 'updateRestore', { id: restore.id, status: 'REQUESTING' });
    await reached(gateway, 'restore', restore.id, 'SUCCESS');
    await site.release();
    expect(await ended(gateway, job.id)).toMatchObject({ status: 'COMPLETED' });
  });
});

test('drillRestore knows no backup that is not there, none without files, and no group that the backup does not hold', async () => {
  for (const backupId of [99, '', 'nonsense']) await witness.expectBroken(gateway, 'drillRestore', { backupId }, [1001, 'BACKUP_NOT_FOUND', 'backupId']);
  const id = await finishedBackup(gateway, 'rules');
  await witness.expectBroken(gateway, 'drillRestore', { backupId: id, groups: [] }, [1008, 'GROUPS_REQUIRED', 'groups']);
  await witness.expectBroken(gateway, 'drillRestore', { backupId: id, groups: ['LICENSE_CONFIG'] }, [1010, 'GROUP_NOT_FOUND', 'groups']);
  await site.hold('--create');
  const { backup } = await done(gateway, 'createBackup', { name: 'running', configurationId: 1, type: 'CONFIG' });
  await witness.expectBroken(gateway, 'drillRestore', { backupId: backup.id }, [1005, 'BACKUP_NOT_SUCCESSFUL', 'backupId']);
  await site.release();
  await reached(gateway, 'backup', backup.id, 'SUCCESS');
  witness.expectAllSeen('drillRestore');
});

test('a drill whose gateway is killed is run again to its end, and nothing of the first attempt is left', async () => {
  const killed = await openSite({ USERS_CONFIG: [{ directory: './users' }] });
  try {
    makeIncompressible(killed.at('users'), 24);
    const first = await killed.start();
    const { id } = await createBackup(first, { name: 'drilled' });
    await backupIs(first, id, ['SUCCESS']);
    const { job } = await done(first, 'drillRestore', { backupId: id });
    const unpacked = (): string[] => (fs.existsSync(killed.at('drills')) ? fs.readdirSync(killed.at('drills')) : []);
    await until('something is unpacked', () => unpacked().length > 0);
    await first.kill();
    expect(unpacked()).toHaveLength(1);
    await killed.expireLeases();
    const second = await killed.start();
    expect(await ended(second, job.id)).toMatchObject({ status: 'COMPLETED' });
    expect((await look(second, id)).lastDrill).toMatchObject({ isSuccessful: true, files: 8 });
    expect(unpacked()).toEqual([]);

    // A job that ended without its worker: the next start removes what that one had unpacked.
    const [left] = await killed.sql`select id from feed`;
    fs.mkdirSync(killed.at('drills', `${String(left!['id']).slice(0, 8)}.${(await killed.sql`select job_id from jobs where operation = 'DRILL'`)[0]!['job_id']}.9`, '0'), { recursive: true });
    fs.mkdirSync(killed.at('drills', 'of somebody else'));
    await second.kill();
    await killed.start();
    expect(unpacked()).toEqual(['of somebody else']);
  } finally {
    await killed.close();
  }
});
