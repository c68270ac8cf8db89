/**
 * A schedule whose backups a passcode protects: from its making to the restore.
 */
import { spawnSync } from 'node:child_process';
import * as fs from 'node:fs';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { GatewayProcess } from './support/gateway.ts';
import { done } from './support/mutations.ts';
import { finishedBackupsOf, makeSchedule, runSchedule } from './support/schedules.ts';
import { createRestore, openSite, requestRestore, restoreIs, type Site } from './support/site.ts';

const PASSCODE = 'correct horse battery staple';
const SECOND = 'another horse for the stable';

let site: Site;
let gateway: GatewayProcess;
let schedule: string;
beforeAll(async () => {
  site = await openSite({ USERS_CONFIG: [{ directory: './site/users' }] });
  fs.mkdirSync(site.at('site/users'), { recursive: true });
  fs.writeFileSync(site.at('site/users/alice'), 'as it was');
  gateway = await site.start({ LOG_LEVEL: 'trace' });
  schedule = await makeSchedule(gateway, { name: 'sealed', storeName: 'vault', passcode: PASSCODE, namePattern: 'sealed-{n}' });
});
afterAll(() => site?.close());

const run = async (): Promise<any[]> => {
  expect(await runSchedule(gateway, site.sql, schedule)).toMatchObject({ lastOutcome: 'STARTED' });
  return finishedBackupsOf(gateway, schedule);
};
const restoreWith = async (backupId: string, passcode: string): Promise<unknown> => {
  fs.writeFileSync(site.at('site/users/alice'), 'spoiled');
  const id = await createRestore(gateway, backupId, ['USERS_CONFIG']);
  const requested = await requestRestore(gateway, id, { passcode });
  if (typeof requested !== 'string') {
    await done(gateway, 'deleteRestore', { id });
    return requested[0].rule;
  }
  expect(await restoreIs(gateway, id, ['SUCCESS', 'FAILED'])).toMatchObject({ status: 'SUCCESS' });
  return fs.readFileSync(site.at('site/users/alice'), 'utf8');
};

test('its backups are encrypted without the passcode, and open with it', async () => {
  const [backup] = await run();
  expect(backup).toMatchObject({ name: 'sealed-1', isEncrypted: true });
  expect(await restoreWith(backup.id, SECOND)).toBe('PASSCODE_WRONG');
  expect(await restoreWith(backup.id, PASSCODE)).toBe('as it was');
});

test('a new passcode is for the backups that follow; those before keep theirs', async () => {
  await done(gateway, 'updateSchedule', { id: schedule, passcode: SECOND });
  fs.writeFileSync(site.at('site/users/alice'), 'as it was');
  const [first, second] = await run();
  expect(await restoreWith(second.id, PASSCODE)).toBe('PASSCODE_WRONG');
  expect(await restoreWith(second.id, SECOND)).toBe('as it was');
  expect(await restoreWith(first.id, PASSCODE)).toBe('as it was');
});

test('neither passcode nor key is in the database, the logs or the backups', async () => {
  await gateway.stop();
  // The database writes all it has in memory when it ends.
  await site.shutDown();
  for (const secret of [PASSCODE, SECOND, 'AGE-SECRET-KEY-', Buffer.from(PASSCODE).toString('base64'), Buffer.from(SECOND).toString('base64')]) {
    expect(spawnSync('grep', ['-rlaiF', '-e', secret, '--', site.dataDir], { encoding: 'utf8' })).toMatchObject({ status: 1, stdout: '', stderr: '' });
    expect(gateway.log()).not.toContain(secret);
  }
  // The search finds what is there.
  expect(spawnSync('grep', ['-rlaiF', '-e', 'sealed-2', '--', site.at('postgres')], { encoding: 'utf8' }).stdout).not.toBe('');
});
