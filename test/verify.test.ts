/**
 * Verification on demand: what it finds, and what it lives with.
 */
import * as fs from 'node:fs';
import { basename, join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { ended, filesOf, flipBit, look, storesReady, verify } from './support/checks.ts';
import { startGateway, type TestGateway } from './support/gateway.ts';
import { makeGatedSite, type GatedSite } from './support/gated-site.ts';
import { done, finishedBackup, gone, reached, RuleWitness } from './support/mutations.ts';

const witness = new RuleWitness();
let site: GatedSite;
let gateway: TestGateway;
beforeAll(async () => {
  site = await makeGatedSite();
  gateway = await startGateway(site.options);
});
afterEach(() => site.release());
afterAll(async () => {
  await gateway?.stop();
  await site?.remove();
});

describe('a verification', () => {
  test('finds a whole backup whole, and says when it looked', async () => {
    const id = await finishedBackup(gateway, 'whole');
    const before = await look(gateway, id);
    expect(before).toMatchObject({ isValid: true, validityDetails: [] });
    expect(Date.parse(before.timeVerified)).toBeGreaterThan(Date.parse(before.timeInitiated));
    const job = await verify(gateway, id);
    expect(job).toMatchObject({ status: 'COMPLETED', error: null, messages: [], backup: { id } });
    const after = await look(gateway, id);
    expect(after).toEqual({ ...before, timeVerified: after.timeVerified });
    expect(Date.parse(after.timeVerified)).toBeGreaterThan(Date.parse(before.timeVerified));
  });

  test('finds one flipped bit in any file of a backup and names the file, and finds it whole again once it is mended', async () => {
    const id = await finishedBackup(gateway, 'flipped', { storeName: 'vault', passcode: 'correct horse' });
    const files = filesOf(await look(gateway, id));
    expect(files.map((file) => basename(file)).toSorted()).toEqual(
      ['DEPLOYMENT_CONFIG.tar.zst.age', 'USERS_CONFIG.tar.zst.age', 'identity.age', 'manifest.json', 'manifest.sha256']);
    for (const file of files) {
      const length = fs.statSync(file).size;
      for (const at of [0, length >> 1, length - 1]) {
        flipBit(file, at);
        const job = await verify(gateway, id);
        expect(job.status).toBe('COMPLETED');
        const backup = await look(gateway, id);
        expect(backup, `${file} at ${at}`).toMatchObject({ status: 'SUCCESS', isValid: false });
        expect(backup.validityDetails.join('\n'), `${file} at ${at}`).toContain(basename(file));
        expect(job.messages).toEqual(backup.validityDetails);
        flipBit(file, at);
      }
    }
    await verify(gateway, id);
    expect(await look(gateway, id)).toMatchObject({ isValid: true, validityProblems: [], validityDetails: [] });
  }, 60_000);

  test('of a backup whose files are gone makes it MISSING, and SUCCESS again when they are back', async () => {
    const id = await finishedBackup(gateway, 'away');
    const { contentFilePath } = await look(gateway, id);
    await site.hold('--list');
    const { job } = await done(gateway, 'verifyBackup', { id });
    fs.renameSync(contentFilePath, join(site.directory, 'away'));
    await site.release();
    await ended(gateway, job.id);
    expect(await look(gateway, id)).toMatchObject({ status: 'MISSING', isValid: false });
    fs.renameSync(join(site.directory, 'away'), contentFilePath);
    expect(await verify(gateway, id)).toMatchObject({ status: 'COMPLETED' });
    expect(await look(gateway, id)).toMatchObject({ status: 'SUCCESS', isValid: true, validityDetails: [] });
  });

  test('that is under way is answered to whoever asks for another', async () => {
    const id = await finishedBackup(gateway, 'asked-twice');
    await site.hold('--list');
    const [first, second] = [await done(gateway, 'verifyBackup', { id }), await done(gateway, 'verifyBackup', { id })];
    expect(second.job.id).toBe(first.job.id);
    await site.release();
    expect(await ended(gateway, first.job.id)).toMatchObject({ status: 'COMPLETED' });
    expect((await done(gateway, 'verifyBackup', { id })).job.id).not.toBe(first.job.id);
  });

  test('runs beside backups and restores', async () => {
    const id = await finishedBackup(gateway, 'beside');
    await site.hold('--list');
    const { job } = await done(gateway, 'verifyBackup', { id });
    await reached(gateway, 'job', job.id, 'EXECUTING');
    const { restore } = await done(gateway, 'createRestore', { backupId: id, groups: ['DEPLOYMENT_CONFIG'] });
    await done(gateway, 'updateRestore', { id: restore.id, status: 'REQUESTING' });
    await reached(gateway, 'restore', restore.id, 'SUCCESS');
    await site.release();
    expect(await ended(gateway, job.id)).toMatchObject({ status: 'COMPLETED' });
  });

  test('that is cancelled leaves the backup as it was', async () => {
    const id = await finishedBackup(gateway, 'cancelled');
    const before = await look(gateway, id);
    await site.hold('--list');
    const { job } = await done(gateway, 'verifyBackup', { id });
    await reached(gateway, 'job', job.id, 'EXECUTING');
    await done(gateway, 'cancelJob', { id: job.id });
    expect(await ended(gateway, job.id)).toMatchObject({ status: 'CANCELLED' });
    expect(await look(gateway, id)).toEqual(before);
  });

  test('gives way to the deletion of its backup', async () => {
    const id = await finishedBackup(gateway, 'deleted');
    await site.hold('--list');
    const { job } = await done(gateway, 'verifyBackup', { id });
    await reached(gateway, 'job', job.id, 'EXECUTING');
    const deletion = await done(gateway, 'deleteBackup', { id });
    await gone(gateway, 'backup', id);
    expect(await ended(gateway, deletion.job.id)).toMatchObject({ status: 'COMPLETED' });
    expect(await ended(gateway, job.id)).toMatchObject({ status: 'CANCELLED', backup: null });
  });

  test('of a backup in a store that is away fails with the reason, and leaves the backup as it was', async () => {
    const id = await finishedBackup(gateway, 'store-away');
    const before = await look(gateway, id);
    const [store, away] = [join(site.directory, 'backups'), join(site.directory, 'elsewhere')];
    fs.renameSync(store, away);
    const job = await verify(gateway, id);
    fs.renameSync(away, store);
    expect(job.status).toBe('FAILED');
    expect(job.error).toContain(store);
    expect(await look(gateway, id)).toEqual(before);
    await storesReady(gateway);
  });
});

test('verifyBackup knows no backup that is not there, and none that has no files', async () => {
  for (const id of [99, '', 'nonsense']) await witness.expectBroken(gateway, 'verifyBackup', { id }, [1001, 'BACKUP_NOT_FOUND', 'id']);
  await site.hold('--create');
  const { backup } = await done(gateway, 'createBackup', { name: 'running', configurationId: 1, type: 'CONFIG' });
  await witness.expectBroken(gateway, 'verifyBackup', { id: backup.id }, [2014, 'BACKUP_NOT_VERIFIABLE', 'id']);
  await site.release();
  await reached(gateway, 'backup', backup.id, 'SUCCESS');
  witness.expectAllSeen('verifyBackup');
});
