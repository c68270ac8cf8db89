/**
 * What becomes of backups and stores that are moved away, damaged, or refuse to be removed.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import * as fs from 'node:fs';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { until, type GatewayProcess } from '../support/gateway.ts';
import { backupIs, deleteBackup, makeBackup, makeIncompressible, openSite, showBackup, showJob, type Site } from '../support/site.ts';

let site: Site;
let gateway: GatewayProcess;
let count = 0;
let id: string;
let path: string;

beforeAll(async () => {
  site = await openSite({ USERS_CONFIG: [{ directory: './users' }] });
  makeIncompressible(site.at('users'), 1);
  gateway = await site.start({ LOG_LEVEL: 'info' });
});
beforeEach(async () => {
  id = await makeBackup(gateway, { name: `backup-${++count}` });
  path = (await showBackup(gateway, id)).contentFilePath;
});
afterAll(() => site?.close());

const away = (): string => site.at('away');
const storeIs = (status: string) => until(`the store is ${status}`, async () => {
  const { data } = await gateway.query('{ backupStores { nodes { name status statusDetail } } }');
  const store = data.backupStores.nodes.find(({ name }: { name: string }) => name === 'default');
  return store.status === status && store;
});

describe('a backup', () => {
  test('is MISSING while its directory is elsewhere, and SUCCESS once it is back', async () => {
    fs.renameSync(path, away());
    await backupIs(gateway, id, ['MISSING'], 5_000);
    fs.renameSync(away(), path);
    expect(await backupIs(gateway, id, ['SUCCESS'], 5_000)).toMatchObject({ isValid: true, validityProblems: [] });
  });

  test('that is copied back slowly is not shown as damaged once the copy is complete', async () => {
    fs.renameSync(path, away());
    await backupIs(gateway, id, ['MISSING']);
    const archive = fs.readFileSync(`${away()}/USERS_CONFIG.tar.zst`);
    fs.mkdirSync(path);
    for (const name of fs.readdirSync(away())) fs.writeFileSync(`${path}/${name}`, name.endsWith('.zst') ? archive.subarray(0, 1000) : fs.readFileSync(`${away()}/${name}`));
    await until('the gateway has met half a copy', () => gateway.log().includes('not whole yet'));
    fs.appendFileSync(`${path}/USERS_CONFIG.tar.zst`, archive.subarray(1000));
    expect(await backupIs(gateway, id, ['SUCCESS'])).toMatchObject({ isValid: true, validityProblems: [] });
    fs.rmSync(away(), { recursive: true });
  });

  test('that comes back altered is shown as such, and cannot be restored', async () => {
    fs.renameSync(path, away());
    await backupIs(gateway, id, ['MISSING']);
    const archive = `${away()}/USERS_CONFIG.tar.zst`;
    const bytes = fs.readFileSync(archive);
    bytes[bytes.length >> 1]! ^= 1;
    fs.writeFileSync(archive, bytes);
    fs.renameSync(away(), path);
    expect(await backupIs(gateway, id, ['SUCCESS'])).toMatchObject({ isValid: false, validityProblems: ['DIGEST_MISMATCH'] });
    const { data } = await gateway.query(`mutation ($id: ID!) { createRestore(input: { backupId: $id, groups: [USERS_CONFIG] }) {
      ... on RuleViolations { violations { rule } } } }`, { id });
    expect(data.createRestore.violations).toEqual([{ rule: 'BACKUP_NOT_VALID' }]);
  });

  test('that comes back without one of its files is shown as such', async () => {
    fs.renameSync(path, away());
    await backupIs(gateway, id, ['MISSING']);
    fs.rmSync(`${away()}/USERS_CONFIG.tar.zst`);
    fs.renameSync(away(), path);
    expect(await backupIs(gateway, id, ['SUCCESS'])).toMatchObject({ isValid: false, validityProblems: ['FILE_MISSING'] });
  });

  test('that is MISSING can be deleted', async () => {
    fs.rmSync(path, { recursive: true });
    await backupIs(gateway, id, ['MISSING']);
    const job = await deleteBackup(gateway, id);
    await until('the backup is gone', async () => await showBackup(gateway, id) === null);
    expect(await showJob(gateway, job)).toMatchObject({ status: 'COMPLETED', error: null });
  });
});

describe('a store', () => {
  test('that is moved away is UNREACHABLE with the reason, its backups keep their status, and it is READY once it is back', async () => {
    fs.renameSync(site.at('backups'), away());
    expect((await storeIs('UNREACHABLE')).statusDetail).toContain(site.at('backups'));
    expect(await showBackup(gateway, id)).toMatchObject({ status: 'SUCCESS' });
    fs.renameSync(away(), site.at('backups'));
    expect((await storeIs('READY')).statusDetail).toBeNull();
    expect(await site.sql`select from transitions where to_status = 'MISSING' and label = ${`backup-${count}`}`).toHaveLength(0);
  });
});

describe('a deletion', () => {
  test('that fails for good leaves the backup as it was, and its job says why', async () => {
    fs.renameSync(site.at('backups'), away());
    fs.writeFileSync(site.at('backups'), 'a file where the store was');
    const job = await deleteBackup(gateway, id);
    const failed = await until('the job has ended', async () => {
      const shown = await showJob(gateway, job);
      return shown.status === 'FAILED' && shown;
    });
    expect(failed.error).toContain(`The backup store ${site.at('backups')} cannot be read or written`);
    expect(await showBackup(gateway, id)).toMatchObject({ status: 'SUCCESS' });
    fs.rmSync(site.at('backups'));
    fs.renameSync(away(), site.at('backups'));
    await storeIs('READY');
    const second = await deleteBackup(gateway, id);
    await until('the backup is gone', async () => await showBackup(gateway, id) === null);
    expect(await showJob(gateway, second)).toMatchObject({ status: 'COMPLETED' });
    expect(fs.existsSync(path)).toBe(false);
  });

  test('that stops half-way never leaves what looks like a success, and can be done again', async (context) => {
    const archive = `${path}/USERS_CONFIG.tar.zst`;
    if (spawnSync('chattr', ['+i', archive]).status !== 0) context.skip('this file system knows no immutable files');
    const job = await deleteBackup(gateway, id);
    const remains = path.replace(/[^/]+$/, '.removing-$&');
    try {
      await until('the job has ended', async () => (await showJob(gateway, job)).status === 'FAILED');
      expect((await showJob(gateway, job)).error).toContain('could not be removed');
      expect((await showBackup(gateway, id)).status).toBe('MISSING');
      const statuses = await site.sql`select to_status from transitions where kind = 'BACKUP' and label = ${`backup-${count}`} order by position`;
      expect(statuses.map((row) => row['to_status']).slice(-2)).toEqual(['DELETING', 'MISSING']);
    } finally {
      execFileSync('chattr', ['-R', '-i', fs.existsSync(remains) ? remains : path]);
    }
    await deleteBackup(gateway, id);
    await until('the backup is gone', async () => await showBackup(gateway, id) === null);
    expect(fs.existsSync(remains)).toBe(false);
  });
});
