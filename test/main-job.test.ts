import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startGateway, until, type TestGateway } from './support/gateway.ts';

let gateway: TestGateway;
beforeAll(async () => { gateway = await startGateway(); });
afterAll(() => gateway?.stop());

const CREATE = `mutation ($input: CreateBackupInput!) { createBackup(input: $input) {
  ... on CreateBackupPayload { backup { id status } job { id } } ... on RuleViolations { violations { rule } } } }`;
const BACKUP = `query ($id: ID!) { backup(id: $id) { status sizeOnDisk contentFilePath groups isValid job { status error } } }`;

test('a newcomer backs up real files, watches it live, changes a file, restores, and has the old content back', async () => {
  const changes: string[] = [];
  const watching = (async () => {
    for await (const event of gateway.socket().iterate({ query: 'subscription { backupStatusChanged { backupName from to } }' })) {
      const change = (event.data as any).backupStatusChanged;
      changes.push(change.to);
      if (change.to === 'SUCCESS' || change.to === 'FAILED') return;
    }
  })();
  await until('somebody watches', () => gateway.query('{ feedCursor }').then(() => true));
  const created = await gateway.query(CREATE, { input: { name: 'first', configurationId: 1, type: 'CONFIG' } });
  const { id } = created.data.createBackup.backup;
  await watching;
  expect(changes).toEqual(['INITIALIZING', 'IN_PROGRESS', 'SUCCESS']);

  const { data: { backup } } = await gateway.query(BACKUP, { id });
  expect(backup).toMatchObject({ status: 'SUCCESS', isValid: true, job: { status: 'COMPLETED', error: null } });
  const files = await readdir(backup.contentFilePath);
  expect(files).toContain('manifest.json');
  expect(files).toContain('CUSTOM_RULES_CONFIG.tar.zst');

  const rules = join(gateway.dataDir, 'site/etc/rules');
  const [before, users] = [await readFile(join(rules, 'custom-rules.xml')), join(gateway.dataDir, 'site/etc/users')];
  await writeFile(join(rules, 'custom-rules.xml'), 'altered');
  await writeFile(join(rules, 'added.txt'), 'added');
  await rm(join(rules, 'reference-sets'), { recursive: true });
  await mkdir(users, { recursive: true });
  await writeFile(join(users, 'untouched.txt'), 'of another group');

  const restore = await gateway.query(`mutation ($id: ID!) { createRestore(input: { backupId: $id, groups: [CUSTOM_RULES_CONFIG] }) {
    ... on CreateRestorePayload { restore { id } } } }`, { id });
  const restoreId = restore.data.createRestore.restore.id;
  await gateway.query('mutation ($id: ID!) { updateRestore(input: { id: $id, status: REQUESTING }) { __typename } }', { id: restoreId });
  await until('the restore has ended', async () => {
    const { data } = await gateway.query('query ($id: ID!) { restore(id: $id) { status job { error } } }', { id: restoreId });
    expect(data.restore).not.toMatchObject({ status: 'FAILED' });
    return data.restore.status === 'SUCCESS';
  });
  expect(await readFile(join(rules, 'custom-rules.xml'))).toEqual(before);
  expect((await readdir(rules)).toSorted()).toEqual(['blocklist.current', 'building-blocks.json', 'custom-rules.xml', 'reference-sets', 'respond.sh']);
  expect(await readFile(join(users, 'untouched.txt'), 'utf8')).toBe('of another group');
});
