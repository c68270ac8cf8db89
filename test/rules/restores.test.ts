import { appendFile, readdir, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startGateway, until, type TestGateway } from '../support/gateway.ts';
import { codesOf, done, finishedBackup, gone, reached, RuleWitness, send, type Broken, type Input } from '../support/mutations.ts';
import { makeGatedSite, type GatedSite } from '../support/gated-site.ts';

const PASSCODE = 'correct horse';
const witness = new RuleWitness();
let site: GatedSite;
let gateway: TestGateway;
let config: string;
let encrypted: string;
let data: string;
beforeAll(async () => {
  site = await makeGatedSite();
  gateway = await startGateway(site.options);
  config = await finishedBackup(gateway, 'config');
  encrypted = await finishedBackup(gateway, 'encrypted', { passcode: PASSCODE, storeName: 'vault' });
  data = await finishedBackup(gateway, 'data', { type: 'DATA', hostId: 2 });
});
afterAll(async () => {
  await site?.release();
  await gateway?.stop();
  await site?.remove();
});

/** Stops the gateway, edits the deployment file, and starts with the change deployed. */
async function redeploy(change: Parameters<GatedSite['edit']>[0]): Promise<void> {
  await gateway.stop();
  await site.edit(change);
  gateway = await startGateway({ ...site.options, env: { ...site.options.env, DEPLOY_ON_START: 'true' } });
}
const creationBreaks = (input: Input, ...broken: Broken[]) => witness.expectBroken(gateway, 'createRestore', { backupId: config, groups: ['USERS_CONFIG'], ...input }, ...broken);
const requestBreaks = (id: unknown, input: Input, ...broken: Broken[]) => witness.expectBroken(gateway, 'updateRestore', { id, status: 'REQUESTING', ...input }, ...broken);
const pending = async (backupId: string, more: Input = {}): Promise<string> => (await done(gateway, 'createRestore', { backupId, groups: ['USERS_CONFIG'], ...more })).restore.id;

test('createRestore tells what the input alone shows, before it looks at the backup', async () => {
  await creationBreaks({ backupId: '' }, [1002, 'BACKUP_ID_REQUIRED', 'backupId']);
  await creationBreaks({ groups: [], backupId: 99 }, [1008, 'GROUPS_REQUIRED', 'groups']);
  for (const group of ['INSTALLED_APPS_CONFIG', 'OFFENSES_DATA']) await creationBreaks({ groups: [group] }, [1009, 'DEPLOYMENT_CONFIG_REQUIRED', 'groups']);
  await creationBreaks({ backupId: '', groups: [] }, [1002, 'BACKUP_ID_REQUIRED', 'backupId'], [1008, 'GROUPS_REQUIRED', 'groups']);
  await creationBreaks({ backupId: '', groups: ['OFFENSES_DATA', 'USERS_CONFIG'] }, [1002, 'BACKUP_ID_REQUIRED', 'backupId'], [1009, 'DEPLOYMENT_CONFIG_REQUIRED', 'groups']);
});

test('createRestore tells what the backup shows; an unknown, a DATA or an unsuccessful one alone', async () => {
  for (const unknown of [99, 'nonsense']) await creationBreaks({ backupId: unknown, groups: ['ASSETS_DATA'] }, [1003, 'BACKUP_NOT_FOUND', 'backupId']);
  await creationBreaks({ backupId: data, groups: ['ASSETS_DATA'] }, [1004, 'BACKUP_NOT_CONFIG', 'backupId']);
  await creationBreaks({ groups: ['USERS_CONFIG', 'ASSETS_DATA'] }, [1010, 'GROUP_NOT_FOUND', 'groups']);
  await creationBreaks({ groups: ['DEPLOYMENT_CONFIG', 'OFFENSES_DATA'] }, [1010, 'GROUP_NOT_FOUND', 'groups']);
  await site.hold('--create');
  const { backup } = await done(gateway, 'createBackup', { name: 'running', configurationId: 1, type: 'CONFIG' });
  await creationBreaks({ backupId: backup.id, groups: ['ASSETS_DATA'] }, [1005, 'BACKUP_NOT_SUCCESSFUL', 'backupId']);
  await done(gateway, 'deleteBackup', { id: backup.id });
  await gone(gateway, 'backup', backup.id);
  await site.release();
});

test('a backup that came back damaged is not valid', async () => {
  const id = await finishedBackup(gateway, 'damaged');
  const { contentFilePath } = (await gateway.query('query ($id: ID!) { backup(id: $id) { contentFilePath } }', { id })).data.backup;
  const away = join(site.directory, 'away');
  await rename(contentFilePath, away);
  await reached(gateway, 'backup', id, 'MISSING');
  await creationBreaks({ backupId: id }, [1005, 'BACKUP_NOT_SUCCESSFUL', 'backupId']);
  const archive = (await readdir(away)).find((file) => file.startsWith('USERS_CONFIG')) as string;
  await appendFile(join(away, archive), 'more');
  await rename(away, contentFilePath);
  await reached(gateway, 'backup', id, 'SUCCESS');
  await creationBreaks({ backupId: id }, [1006, 'BACKUP_NOT_VALID', 'backupId']);
});

test('a deployment has one unfinished restore record; a key answers it as long as it lives', async () => {
  const keyed = { backupId: config, groups: ['DEPLOYMENT_CONFIG', 'USERS_CONFIG'], idempotencyKey: 'k' };
  const { restore } = await done(gateway, 'createRestore', keyed);
  await creationBreaks({}, [1011, 'RESTORE_EXISTS']);
  expect((await done(gateway, 'createRestore', keyed)).restore.id).toBe(restore.id);
  await creationBreaks({ idempotencyKey: 'k' }, [1011, 'RESTORE_EXISTS'], [2006, 'IDEMPOTENCY_KEY_REUSED', 'idempotencyKey']);
  expect((await done(gateway, 'deleteRestore', { id: restore.id })).deletedId).toBe(restore.id);
  await witness.expectBroken(gateway, 'deleteRestore', { id: restore.id }, [1001, 'RESTORE_NOT_FOUND', 'id']);
  const second = (await done(gateway, 'createRestore', keyed)).restore.id;
  expect(second).not.toBe(restore.id);
  await done(gateway, 'deleteRestore', { id: second });
});

test('updateRestore and deleteRestore know no restore that is not there, and none of another kind', async () => {
  for (const unknown of [99, '', 'nonsense', config]) {
    await requestBreaks(unknown, {}, [1001, 'RESTORE_NOT_FOUND', 'id']);
    await witness.expectBroken(gateway, 'deleteRestore', { id: unknown }, [1001, 'RESTORE_NOT_FOUND', 'id']);
  }
  for (const status of ['PENDING', 'INITIALIZING', 'IN_PROGRESS', 'FAILED', 'SUCCESS']) await requestBreaks(99, { status }, [1013, 'STATUS_NOT_REQUESTING', 'status']);
});

test('updateRestore tells of the restore site, the passcode and the backup together', async () => {
  const id = await pending(encrypted);
  await requestBreaks(id, { restoreSiteHostId: 4, passcode: PASSCODE }, [1030, 'RESTORE_SITE_HOST_HAS_NO_QFLOW', 'restoreSiteHostId']);
  await requestBreaks(id, { restoreSiteHostId: 99, passcode: PASSCODE }, [1031, 'RESTORE_SITE_HOST_INVALID', 'restoreSiteHostId']);
  await requestBreaks(id, { restoreSiteEventCollectorId: 2, passcode: PASSCODE }, [1032, 'NOT_AN_EVENT_COLLECTOR', 'restoreSiteEventCollectorId']);
  await requestBreaks(id, { restoreSiteEventCollectorId: 'nonsense', passcode: PASSCODE }, [1033, 'EVENT_COLLECTOR_NOT_FOUND', 'restoreSiteEventCollectorId']);
  await requestBreaks(id, {}, [2002, 'PASSCODE_REQUIRED', 'passcode']);
  await requestBreaks(id, { passcode: 'wrong horse' }, [2007, 'PASSCODE_WRONG', 'passcode']);
  await requestBreaks(id, { passcode: '' }, [2007, 'PASSCODE_WRONG', 'passcode']);
  await done(gateway, 'setRebalancing', { rebalancing: true });
  await requestBreaks(id, { restoreSiteHostId: 3, restoreSiteEventCollectorId: 99 },
    [1030, 'RESTORE_SITE_HOST_HAS_NO_QFLOW', 'restoreSiteHostId'], [1033, 'EVENT_COLLECTOR_NOT_FOUND', 'restoreSiteEventCollectorId'], [2002, 'PASSCODE_REQUIRED', 'passcode']);
  await requestBreaks(id, { passcode: PASSCODE, restoreSiteHostId: 1, restoreSiteEventCollectorId: 4 }, [1014, 'REBALANCING_IN_PROGRESS']);
  await done(gateway, 'setRebalancing', { rebalancing: false });
  await done(gateway, 'updateRestore', { id, status: 'REQUESTING', passcode: PASSCODE, restoreSiteHostId: 1, restoreSiteEventCollectorId: 4 });
  await reached(gateway, 'restore', id, 'SUCCESS');
  await requestBreaks(id, { restoreSiteHostId: 99, passcode: PASSCODE }, [1012, 'RESTORE_NOT_PENDING', 'id']);
  await witness.expectBroken(gateway, 'deleteRestore', { id }, [1017, 'RESTORE_NOT_DELETABLE', 'id']);
});

test('no restore starts while a backup of any host runs, or while another restore does, its record removed or not', async () => {
  const first = await pending(config);
  await site.hold('--create');
  const { backup } = await done(gateway, 'createBackup', { name: 'in-the-way', configurationId: 1, type: 'DATA', hostId: 5 });
  await requestBreaks(first, {}, [1015, 'BACKUP_IN_PROGRESS']);
  await done(gateway, 'setRebalancing', { rebalancing: true });
  await requestBreaks(first, {}, [1014, 'REBALANCING_IN_PROGRESS'], [1015, 'BACKUP_IN_PROGRESS']);
  await done(gateway, 'setRebalancing', { rebalancing: false });
  await done(gateway, 'deleteBackup', { id: backup.id });
  await gone(gateway, 'backup', backup.id);
  await site.release();

  await site.hold('--extract');
  await done(gateway, 'updateRestore', { id: first, status: 'REQUESTING' });
  await requestBreaks(first, { restoreSiteHostId: 99 }, [1012, 'RESTORE_NOT_PENDING', 'id']);
  await creationBreaks({}, [1011, 'RESTORE_EXISTS']);
  await done(gateway, 'deleteRestore', { id: first });
  await gone(gateway, 'restore', first);
  await witness.expectBroken(gateway, 'deleteRestore', { id: first }, [1001, 'RESTORE_NOT_FOUND', 'id']);
  await requestBreaks(first, {}, [1001, 'RESTORE_NOT_FOUND', 'id']);
  const second = await pending(config);
  await requestBreaks(second, {}, [1016, 'RESTORE_IN_PROGRESS']);
  await done(gateway, 'setRebalancing', { rebalancing: true });
  await requestBreaks(second, {}, [1014, 'REBALANCING_IN_PROGRESS'], [1016, 'RESTORE_IN_PROGRESS']);
  await done(gateway, 'setRebalancing', { rebalancing: false });
  await site.release();
  await until('the first restore has ended', async () => codesOf(await send(gateway, 'updateRestore', { id: second, status: 'REQUESTING' })).length === 0);
  await reached(gateway, 'restore', second, 'SUCCESS');
});

test('a restore cancelled before it replaces anything is pending, and can be requested again', async () => {
  const id = await pending(config);
  await site.hold('--extract');
  const { job } = await done(gateway, 'updateRestore', { id, status: 'REQUESTING' });
  await reached(gateway, 'restore', id, 'IN_PROGRESS');
  expect((await done(gateway, 'cancelJob', { id: job.id })).job.status).toBe('CANCELLING');
  await reached(gateway, 'job', job.id, 'CANCELLED');
  await reached(gateway, 'restore', id, 'PENDING');
  await site.release();
  await done(gateway, 'updateRestore', { id, status: 'REQUESTING' });
  await reached(gateway, 'restore', id, 'SUCCESS');
});

test('a backup of another product or version is refused, when a restore is recorded and again when it is requested', async () => {
  const id = await pending(encrypted);
  await redeploy((file) => { file.deployment.version = '7.6.0'; });
  await requestBreaks(id, { passcode: PASSCODE }, [2011, 'BACKUP_UNAVAILABLE']);
  await requestBreaks(id, { restoreSiteHostId: 99 }, [1031, 'RESTORE_SITE_HOST_INVALID', 'restoreSiteHostId'], [2002, 'PASSCODE_REQUIRED', 'passcode'], [2011, 'BACKUP_UNAVAILABLE']);
  await creationBreaks({}, [1007, 'BACKUP_NOT_COMPATIBLE', 'backupId']);
  await redeploy((file) => { file.deployment.product = 'other-siem'; });
  await creationBreaks({ groups: ['ASSETS_DATA'] }, [1006, 'BACKUP_NOT_VALID', 'backupId'], [1007, 'BACKUP_NOT_COMPATIBLE', 'backupId'], [1010, 'GROUP_NOT_FOUND', 'groups']);
  await redeploy((file) => { Object.assign(file.deployment, { version: '7.5.0', appliance: '4412' }); });
  await creationBreaks({}, [1006, 'BACKUP_NOT_VALID', 'backupId']);
  await redeploy((file) => { Object.assign(file.deployment, { product: 'acme-siem', appliance: '3199' }); });
  await done(gateway, 'deleteBackup', { id: encrypted });
  await gone(gateway, 'backup', encrypted);
  await requestBreaks(id, { passcode: PASSCODE }, [2011, 'BACKUP_UNAVAILABLE']);
  await done(gateway, 'deleteRestore', { id });
});

test('every documented rule of createRestore, updateRestore and deleteRestore has been seen', () =>
  witness.expectAllSeen('createRestore', 'updateRestore', 'deleteRestore'));
