import { rename } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { storesReady } from '../support/checks.ts';
import { startGateway, type TestGateway } from '../support/gateway.ts';
import { done, finishedBackup, gone, reached, RuleWitness, type Broken, type Input } from '../support/mutations.ts';
import { makeGatedSite, type GatedSite } from '../support/gated-site.ts';

const witness = new RuleWitness();
let site: GatedSite;
let gateway: TestGateway;
beforeAll(async () => {
  site = await makeGatedSite();
  gateway = await startGateway(site.options);
});
afterAll(async () => {
  await site?.release();
  await gateway?.stop();
  await site?.remove();
});

const dataBackup = async (hostId: number): Promise<{ id: string; jobId: string }> => {
  const { backup, job } = await done(gateway, 'createBackup', { name: `host-${hostId}`, configurationId: 1, type: 'DATA', hostId });
  return { id: backup.id, jobId: job.id };
};
const YESTERDAY = new Date(Date.now() - 86_400_000).toISOString();

test('updateBackup tells what is wrong with the input before it looks for the backup', async () => {
  const breaks = (input: Input, ...broken: Broken[]) => witness.expectBroken(gateway, 'updateBackup', input, ...broken);
  await breaks({ id: 99 }, [1001, 'BACKUP_NOT_FOUND', 'id']);
  await breaks({ id: '' }, [1001, 'BACKUP_NOT_FOUND', 'id']);
  await breaks({ id: 99, description: 'd'.repeat(256) }, [1008, 'DESCRIPTION_TOO_LONG', 'description']);
  await breaks({ id: 99, description: 'd'.repeat(256), retentionDate: YESTERDAY }, [1008, 'DESCRIPTION_TOO_LONG', 'description'], [2004, 'RETENTION_DATE_IN_PAST', 'retentionDate']);
});

test('updateBackup leaves what is left out, and clears what is null', async () => {
  const id = await finishedBackup(gateway, 'described', { description: 'first', retentionDate: '2999-01-01T00:00:00.000Z' });
  const change = async (input: Input) => (await done(gateway, 'updateBackup', { id, ...input })).backup;
  expect(await change({})).toEqual({ id, description: 'first', retentionDate: '2999-01-01T00:00:00.000Z' });
  expect(await change({ description: 'second' })).toEqual({ id, description: 'second', retentionDate: '2999-01-01T00:00:00.000Z' });
  expect(await change({ retentionDate: null })).toEqual({ id, description: 'second', retentionDate: null });
  expect(await change({ description: null })).toEqual({ id, description: null, retentionDate: null });
});

test('deleteBackup and cancelJob know no record that is not there, and none of another kind', async () => {
  const id = await finishedBackup(gateway, 'there');
  const { data } = await gateway.query('query ($id: ID!) { backup(id: $id) { job { id } } }', { id });
  for (const unknown of [99, 0, '', 'nonsense', data.backup.job.id]) await witness.expectBroken(gateway, 'deleteBackup', { id: unknown }, [1001, 'BACKUP_NOT_FOUND', 'id']);
  for (const unknown of [99, '', 'j00000000-0000-0000-0000-000000000000', id]) await witness.expectBroken(gateway, 'cancelJob', { id: unknown }, [2008, 'JOB_NOT_FOUND', 'id']);
});

test('what is on its way out cannot be deleted again, and a deletion cannot be cancelled; running backups go cancelled', async () => {
  const finished = await finishedBackup(gateway, 'finished');
  await site.hold('--create');
  // The worker takes four jobs at once: what comes after them waits, as it was submitted.
  const running = [];
  for (const hostId of [2, 5, 6, 7]) running.push(await dataBackup(hostId));
  for (const { id } of running) await reached(gateway, 'backup', id, 'IN_PROGRESS');
  const waiting = await dataBackup(8);
  await witness.expectBroken(gateway, 'createBackup', { name: 'second', configurationId: 1, type: 'DATA', hostId: 8 }, [1015, 'BACKUP_IN_PROGRESS', 'hostId']);

  const cancelling = await done(gateway, 'deleteBackup', { id: waiting.id });
  expect(cancelling.backup.status).toBe('CANCELLING');
  await witness.expectBroken(gateway, 'deleteBackup', { id: waiting.id }, [1017, 'BACKUP_NOT_DELETABLE', 'id']);
  // A cancelled run holds its host until it has ended.
  await witness.expectBroken(gateway, 'createBackup', { name: 'second', configurationId: 1, type: 'DATA', hostId: 8 }, [1015, 'BACKUP_IN_PROGRESS', 'hostId']);
  const deletion = await done(gateway, 'deleteBackup', { id: finished });
  expect(deletion.backup.status).toBe('DELETING');
  await witness.expectBroken(gateway, 'deleteBackup', { id: finished }, [1017, 'BACKUP_NOT_DELETABLE', 'id']);
  await witness.expectBroken(gateway, 'cancelJob', { id: deletion.job.id }, [2009, 'JOB_NOT_CANCELLABLE', 'id']);
  expect((await done(gateway, 'cancelJob', { id: waiting.jobId })).job.status).toBe('CANCELLING');

  const [first, second] = running as [typeof waiting, typeof waiting];
  expect((await done(gateway, 'deleteBackup', { id: first.id })).backup.status).toBe('CANCELLING');
  await done(gateway, 'cancelJob', { id: second.jobId });
  for (const { id } of [first, second, waiting, { id: finished }]) await gone(gateway, 'backup', id);
  for (const { jobId } of [first, second, waiting]) await reached(gateway, 'job', jobId, 'CANCELLED');
  await site.release();
  for (const { id } of running.slice(2)) await reached(gateway, 'backup', id, 'SUCCESS');
  for (const jobId of [running[3]?.jobId, first.jobId, deletion.job.id]) await witness.expectBroken(gateway, 'cancelJob', { id: jobId }, [2009, 'JOB_NOT_CANCELLABLE', 'id']);
});

test('a backup that is being restored cannot be deleted, until the restore has ended', async () => {
  const id = await finishedBackup(gateway, 'restored');
  const { restore } = await done(gateway, 'createRestore', { backupId: id, groups: ['USERS_CONFIG'] });
  await site.hold('--extract');
  const { job } = await done(gateway, 'updateRestore', { id: restore.id, status: 'REQUESTING' });
  await witness.expectBroken(gateway, 'deleteBackup', { id }, [2010, 'BACKUP_IN_USE', 'id']);
  await reached(gateway, 'restore', restore.id, 'IN_PROGRESS');
  await witness.expectBroken(gateway, 'deleteBackup', { id }, [2010, 'BACKUP_IN_USE', 'id']);
  await site.release();
  await reached(gateway, 'restore', restore.id, 'SUCCESS');
  await witness.expectBroken(gateway, 'cancelJob', { id: job.id }, [2009, 'JOB_NOT_CANCELLABLE', 'id']);
  await done(gateway, 'deleteBackup', { id });
  await gone(gateway, 'backup', id);
});

test('a backup whose deletion fails is what it was, and can be deleted again', async () => {
  const id = await finishedBackup(gateway, 'kept');
  const [store, away] = [join(site.directory, 'backups'), join(site.directory, 'away')];
  await rename(store, away);
  const { job } = await done(gateway, 'deleteBackup', { id });
  await reached(gateway, 'job', job.id, 'FAILED');
  await reached(gateway, 'backup', id, 'SUCCESS');
  await rename(away, store);
  await done(gateway, 'deleteBackup', { id });
  await gone(gateway, 'backup', id);
  // The worker may have looked while the store was away.
  await storesReady(gateway);
});

test('failed and missing backups can be deleted', async () => {
  await rename(join(site.directory, 'site', '8'), join(site.directory, 'site', 'moved'));
  const failed = await dataBackup(8);
  await reached(gateway, 'backup', failed.id, 'FAILED');
  const missing = await finishedBackup(gateway, 'missing');
  const { data } = await gateway.query('query ($id: ID!) { backup(id: $id) { contentFilePath } }', { id: missing });
  await rename(data.backup.contentFilePath, join(site.directory, 'elsewhere'));
  await reached(gateway, 'backup', missing, 'MISSING');
  for (const id of [failed.id, missing]) {
    await done(gateway, 'deleteBackup', { id });
    await gone(gateway, 'backup', id);
  }
});

test('every documented rule of updateBackup, deleteBackup and cancelJob has been seen', () =>
  witness.expectAllSeen('updateBackup', 'deleteBackup', 'cancelJob'));
