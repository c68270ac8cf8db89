/**
 * Backups that a passcode protects, from the request to the restore.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import * as fs from 'node:fs';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openIdentity } from '../../src/engine/index.ts';
import { withPasscode } from '../support/age.ts';
import type { GatewayProcess } from '../support/gateway.ts';
import { createRestore, makeBackup, openSite, requestRestore, restoreIs, showBackup, showRestore, type Site } from '../support/site.ts';
import { has } from '../support/engine.ts';
import { describeTree, makeOddTree, spoilOddTree } from '../support/tree.ts';

const PASSCODE = 'correct horse battery staple';

let site: Site;
let gateway: GatewayProcess;
let backupId: string;
let path: string;
let restoreId: string;
let backedUp: Record<string, string>;

beforeAll(async () => {
  site = await openSite({ USERS_CONFIG: [{ directory: './site/users' }] });
  makeOddTree(site.at('site/users'));
  backedUp = describeTree(site.at('site/users'));
  gateway = await site.start({ LOG_LEVEL: 'trace' });
  backupId = await makeBackup(gateway, { name: 'named-sealed', storeName: 'vault', passcode: PASSCODE });
  path = (await showBackup(gateway, backupId)).contentFilePath;
});
afterAll(() => site?.close());

test('a store that requires a passcode takes no backup without one', async () => {
  const { data } = await gateway.query(`mutation { createBackup(input: { name: "open", configurationId: 1, type: CONFIG, storeName: "vault" }) {
    ... on RuleViolations { violations { code rule } } } }`);
  expect(data.createBackup.violations).toEqual([{ code: 2002, rule: 'PASSCODE_REQUIRED' }]);
});

test('a wrong passcode is refused at once, and touches nothing', async () => {
  spoilOddTree(site.at('site/users'));
  const spoiled = describeTree(site.at('site/users'));
  restoreId = await createRestore(gateway, backupId, ['USERS_CONFIG']);
  expect(await requestRestore(gateway, restoreId, { passcode: 'incorrect horse' })).toEqual([{ code: 2007, rule: 'PASSCODE_WRONG' }]);
  expect(await requestRestore(gateway, restoreId)).toEqual([{ code: 2002, rule: 'PASSCODE_REQUIRED' }]);
  expect(await showRestore(gateway, restoreId)).toMatchObject({ status: 'PENDING', job: null });
  expect(describeTree(site.at('site/users'))).toEqual(spoiled);
  expect(site.restoreLeftovers('site')).toEqual([]);
});

test('the right passcode restores everything, and the key that it opened is erased with the end of the job', async () => {
  await requestRestore(gateway, restoreId, { passcode: PASSCODE });
  expect(await restoreIs(gateway, restoreId, ['SUCCESS', 'FAILED'])).toMatchObject({ status: 'SUCCESS', job: { status: 'COMPLETED' } });
  expect(describeTree(site.at('site/users'))).toEqual(backedUp);
  const jobs = await site.sql`select operation, sealed_identity from jobs order by id`;
  expect(jobs.map((row) => ({ ...row }))).toEqual([{ operation: 'BACKUP', sealed_identity: null }, { operation: 'RESTORE', sealed_identity: null }]);
});

test.skipIf(!has('age') || !has('zstd') || !has('python3'))('the backup opens with age, zstd and tar alone (install age, zstd and python3 to run this)', () => {
  const [key, target] = [site.at('key.txt'), site.at('by hand')];
  fs.mkdirSync(target);
  try {
    withPasscode(PASSCODE, ['age', '-d', '-o', key, `${path}/identity.age`]);
    execFileSync('bash', ['-o', 'pipefail', '-ec', 'age -d -i "$1" "$2" | zstd -d | tar -xp --numeric-owner --warning=no-timestamp -C "$3"',
      'bash', key, `${path}/USERS_CONFIG.tar.zst.age`, target]);
    expect(describeTree(target)).toEqual(backedUp);
  } finally {
    fs.rmSync(key, { force: true });
    execFileSync('chmod', ['-R', 'u+rwX', target]);
    fs.rmSync(target, { recursive: true });
  }
});

test('neither passcode nor key is in the database, the logs, the backups or the output', async () => {
  const identity = await openIdentity(fs.readFileSync(`${path}/identity.age`), PASSCODE);
  expect(identity).toMatch(/^AGE-SECRET-KEY-1/);
  await gateway.stop();
  // The database writes all it has in memory when it ends.
  await site.shutDown();
  for (const secret of [PASSCODE, 'incorrect horse', 'AGE-SECRET-KEY-', String(identity).toLowerCase(), Buffer.from(PASSCODE).toString('base64'), Buffer.from(String(identity)).toString('base64').slice(0, 60)]) {
    const found = spawnSync('grep', ['-rlaiF', '-e', secret, '--', site.dataDir], { encoding: 'utf8' });
    expect(found).toMatchObject({ status: 1, stdout: '', stderr: '' });
    expect(gateway.log()).not.toContain(secret);
  }
  // The search finds what is there: the backup's name is in the database.
  expect(spawnSync('grep', ['-rlaiF', '-e', 'named-sealed', '--', site.at('postgres')], { encoding: 'utf8' }).stdout).not.toBe('');
});
