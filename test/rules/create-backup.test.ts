import { rename } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startGateway, until, type TestGateway } from '../support/gateway.ts';
import { done, finishedBackup, gone, reached, RuleWitness, send, type Broken, type Input } from '../support/mutations.ts';
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

const VALID = { name: 'fine', configurationId: 1, type: 'CONFIG' };
const YESTERDAY = new Date(Date.now() - 86_400_000).toISOString();
const TOMORROW = new Date(Date.now() + 86_400_000).toISOString();
const breaks = (input: Input, ...broken: Broken[]) => witness.expectBroken(gateway, 'createBackup', { ...VALID, ...input }, ...broken);

test('what the input alone shows is told, all of it, in ascending code, and nothing of later stages', async () => {
  await breaks({ name: '' }, [1002, 'NAME_REQUIRED', 'name']);
  await breaks({ name: 'a'.repeat(101) }, [1003, 'NAME_TOO_LONG', 'name']);
  for (const name of ['a b', 'a/b', 'ä', 'a\n', '../a', ' ', 'a\u200B', '٣']) await breaks({ name }, [1004, 'NAME_INVALID_CHARACTERS', 'name']);
  await breaks({ configurationId: '' }, [1006, 'CONFIGURATION_REQUIRED', 'configurationId']);
  await breaks({ description: 'd'.repeat(256) }, [1008, 'DESCRIPTION_TOO_LONG', 'description']);
  await breaks({ passcode: '1234567' }, [2003, 'PASSCODE_TOO_SHORT', 'passcode']);
  await breaks({ passcode: '' }, [2003, 'PASSCODE_TOO_SHORT', 'passcode']);
  await breaks({ retentionDate: YESTERDAY }, [2004, 'RETENTION_DATE_IN_PAST', 'retentionDate']);
  await breaks(
    { name: 'ä'.repeat(101), configurationId: '', description: 'd'.repeat(256), passcode: 'short', retentionDate: YESTERDAY, hostId: 99, deploymentId: 99, storeName: 'none' },
    [1003, 'NAME_TOO_LONG', 'name'], [1004, 'NAME_INVALID_CHARACTERS', 'name'], [1006, 'CONFIGURATION_REQUIRED', 'configurationId'],
    [1008, 'DESCRIPTION_TOO_LONG', 'description'], [2003, 'PASSCODE_TOO_SHORT', 'passcode'], [2004, 'RETENTION_DATE_IN_PAST', 'retentionDate'],
  );
});

test('what the named records show is told, all of it, and nothing about a record that is not there', async () => {
  await breaks({ configurationId: 99 }, [1007, 'CONFIGURATION_NOT_FOUND', 'configurationId']);
  await breaks({ configurationId: 'nonsense' }, [1007, 'CONFIGURATION_NOT_FOUND', 'configurationId']);
  await breaks({ hostId: 99 }, [1009, 'HOST_NOT_FOUND', 'hostId']);
  await breaks({ hostId: '' }, [1009, 'HOST_NOT_FOUND', 'hostId']);
  await breaks({ hostId: 99, type: 'DATA' }, [1009, 'HOST_NOT_FOUND', 'hostId']);
  await breaks({ hostId: 2 }, [1012, 'CONFIG_BACKUP_NEEDS_CONSOLE', 'hostId']);
  await breaks({ hostId: 3 }, [1010, 'HOST_NOT_ACTIVE', 'hostId'], [1012, 'CONFIG_BACKUP_NEEDS_CONSOLE', 'hostId']);
  await breaks({ hostId: 4, type: 'DATA' }, [1013, 'HOST_STORES_NO_DATA', 'hostId'], [1014, 'HOST_NOT_CONFIGURED_FOR_DATA', 'hostId']);
  await breaks({ type: 'DATA' }, [1013, 'HOST_STORES_NO_DATA', 'hostId'], [1014, 'HOST_NOT_CONFIGURED_FOR_DATA', 'hostId']);
  await breaks({ hostId: 9, type: 'DATA' }, [1014, 'HOST_NOT_CONFIGURED_FOR_DATA', 'hostId']);
  await breaks({ hostId: 4, type: 'DATA', configurationId: 99 }, [1007, 'CONFIGURATION_NOT_FOUND', 'configurationId'], [1013, 'HOST_STORES_NO_DATA', 'hostId']);
  await breaks({ storeName: 'none' }, [2001, 'STORE_NOT_FOUND', 'storeName']);
  await breaks({ storeName: '' }, [2001, 'STORE_NOT_FOUND', 'storeName']);
  await breaks({ storeName: 'vault' }, [2002, 'PASSCODE_REQUIRED', 'passcode']);
  await breaks({ deploymentId: 99 }, [2012, 'DEPLOYMENT_NOT_FOUND', 'deploymentId']);
  // Configurations and hosts are a deployment's; stores are not.
  await breaks({ deploymentId: 99, hostId: 99, configurationId: 99, storeName: 'vault' }, [2002, 'PASSCODE_REQUIRED', 'passcode'], [2012, 'DEPLOYMENT_NOT_FOUND', 'deploymentId']);
  await breaks(
    { configurationId: 99, hostId: 3, storeName: 'none' },
    [1007, 'CONFIGURATION_NOT_FOUND', 'configurationId'], [1010, 'HOST_NOT_ACTIVE', 'hostId'],
    [1012, 'CONFIG_BACKUP_NEEDS_CONSOLE', 'hostId'], [2001, 'STORE_NOT_FOUND', 'storeName'],
  );
});

test('a global id of another kind of record names none', async () => {
  const { data } = await gateway.query('{ deployment { id console { id } } backupConfigurations { nodes { id } } }');
  const [deployment, host, configuration] = [data.deployment.id, data.deployment.console.id, data.backupConfigurations.nodes[0].id];
  await breaks({ configurationId: host, hostId: configuration }, [1007, 'CONFIGURATION_NOT_FOUND', 'configurationId'], [1009, 'HOST_NOT_FOUND', 'hostId']);
  await breaks({ deploymentId: host }, [2012, 'DEPLOYMENT_NOT_FOUND', 'deploymentId']);
  const { backup } = await done(gateway, 'createBackup', { ...VALID, name: 'by-global-ids', deploymentId: deployment, hostId: host, configurationId: configuration });
  await reached(gateway, 'backup', backup.id, 'SUCCESS');
});

test('what the documents allow is taken: every legal character, full lengths, counted as a person counts', async () => {
  const name = 'Az0_-.'.padEnd(100, '.');
  for (const legal of [name, '.', '..']) await finishedBackup(gateway, legal, { description: '😀'.repeat(255), retentionDate: TOMORROW, passcode: null });
});

test('everything else that goes on is told together: name, staged change, running backup, store away, key reused', async () => {
  await finishedBackup(gateway, 'taken', { idempotencyKey: 'used' });
  await site.hold('--create');
  const { backup } = await done(gateway, 'createBackup', { ...VALID, name: 'runs' });
  await breaks({}, [1015, 'BACKUP_IN_PROGRESS', 'hostId']);
  await done(gateway, 'stageHost', { id: 3, status: 'ACTIVE' });
  await rename(join(site.directory, 'vault'), join(site.directory, 'away'));
  await until('the store is found to be away', async () =>
    (await gateway.query('{ backupStores { nodes { name status } } }')).data.backupStores.nodes.some((store: any) => store.name === 'vault' && store.status === 'UNREACHABLE'));
  await breaks(
    { name: 'taken', storeName: 'vault', passcode: 'long enough', idempotencyKey: 'used' },
    [1005, 'NAME_NOT_UNIQUE', 'name'], [1011, 'UNDEPLOYED_CHANGES'], [1015, 'BACKUP_IN_PROGRESS', 'hostId'],
    [2005, 'STORE_NOT_READY', 'storeName'], [2006, 'IDEMPOTENCY_KEY_REUSED', 'idempotencyKey'],
  );
  // On another host nothing runs; and an earlier stage that is not clean hides all of it.
  await breaks({ hostId: 2, type: 'DATA' }, [1011, 'UNDEPLOYED_CHANGES']);
  await breaks({ name: 'taken', hostId: 3, type: 'CONFIG' }, [1010, 'HOST_NOT_ACTIVE', 'hostId'], [1012, 'CONFIG_BACKUP_NEEDS_CONSOLE', 'hostId']);

  await rename(join(site.directory, 'away'), join(site.directory, 'vault'));
  await done(gateway, 'stageHost', { id: 3, status: 'NEW' });
  await site.release();
  await reached(gateway, 'backup', backup.id, 'SUCCESS');
});

test('while a restore runs no backup of the deployment starts, on whatever host', async () => {
  const backupId = await finishedBackup(gateway, 'to-restore');
  const { restore } = await done(gateway, 'createRestore', { backupId, groups: ['USERS_CONFIG'] });
  // A pending restore is in nobody's way.
  await finishedBackup(gateway, 'beside-pending');
  await site.hold('--extract');
  await done(gateway, 'updateRestore', { id: restore.id, status: 'REQUESTING' });
  await breaks({}, [1016, 'RESTORE_IN_PROGRESS']);
  await breaks({ hostId: 2, type: 'DATA', name: 'to-restore' }, [1005, 'NAME_NOT_UNIQUE', 'name'], [1016, 'RESTORE_IN_PROGRESS']);
  await done(gateway, 'deleteRestore', { id: restore.id });
  await breaks({}, [1016, 'RESTORE_IN_PROGRESS']);
  await site.release();
  await until('the restore has ended', async () => (await send(gateway, 'createBackup', { ...VALID, name: 'after' })).violations === undefined);
  await reached(gateway, 'backup', (await gateway.query('{ backupByName(name: "after") { id } }')).data.backupByName.id, 'SUCCESS');
});

test('a key answers the first result for the same input, once a success has bound it and as long as its record lives', async () => {
  await breaks({ name: 'taken', idempotencyKey: 'k' }, [1005, 'NAME_NOT_UNIQUE', 'name']);
  const input = { ...VALID, name: 'keyed', idempotencyKey: 'k', passcode: 'the first passcode' };
  const first = await done(gateway, 'createBackup', input);
  await reached(gateway, 'backup', first.backup.id, 'SUCCESS');
  const again = await done(gateway, 'createBackup', { description: null, ...Object.fromEntries(Object.entries(input).toReversed()) });
  expect([again.backup.id, again.job.id]).toEqual([first.backup.id, first.job.id]);
  await breaks({ ...input, name: 'other' }, [2006, 'IDEMPOTENCY_KEY_REUSED', 'idempotencyKey']);
  await breaks({ ...input, passcode: 'another passcode' }, [1005, 'NAME_NOT_UNIQUE', 'name'], [2006, 'IDEMPOTENCY_KEY_REUSED', 'idempotencyKey']);
  await done(gateway, 'deleteBackup', { id: first.backup.id });
  await gone(gateway, 'backup', first.backup.id);
  const fresh = await done(gateway, 'createBackup', input);
  expect(fresh.backup.id).not.toBe(first.backup.id);
  await reached(gateway, 'backup', fresh.backup.id, 'SUCCESS');
});

test('a key may be as long as a client likes', async () => {
  const idempotencyKey = Array.from({ length: 5_000 }, (_, index) => String.fromCodePoint(0x4e00 + ((index * 7919) % 20_000))).join('');
  const { backup } = await done(gateway, 'createBackup', { ...VALID, name: 'long-key', idempotencyKey });
  expect((await done(gateway, 'createBackup', { ...VALID, name: 'long-key', idempotencyKey })).backup.id).toBe(backup.id);
});

test('every documented rule of createBackup has been seen', () => witness.expectAllSeen('createBackup'));
