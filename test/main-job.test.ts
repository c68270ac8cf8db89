import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { WatchSubscription } from './gql/graphql.ts';
import { graphql } from './gql/index.ts';
import { startGateway, until, type TestGateway } from './support/gateway.ts';

let gateway: TestGateway;
beforeAll(async () => { gateway = await startGateway({ isFirstStart: true }); });
afterAll(() => gateway?.stop());

const Watch = graphql(`subscription Watch { backupStatusChanged { backupName from to } }`);
const Create = graphql(`mutation Create($input: CreateBackupInput!) { createBackup(input: $input) {
  __typename ... on CreateBackupPayload { backup { id } } ... on RuleViolations { violations { rule } } } }`);
const BackupById = graphql(`query BackupById($id: ID!) { backup(id: $id) { status sizeOnDisk contentFilePath isValid job { status error } } }`);
const CreateRestore = graphql(`mutation CreateRestore($input: CreateRestoreInput!) { createRestore(input: $input) {
  __typename ... on CreateRestorePayload { restore { id } } ... on RuleViolations { violations { rule } } } }`);
const StartRestore = graphql(`mutation StartRestore($id: ID!) { updateRestore(input: { id: $id, status: REQUESTING }) { __typename } }`);
const RestoreById = graphql(`query RestoreById($id: ID!) { restore(id: $id) { status job { error } } }`);

test('a newcomer backs up real files, watches it live, changes a file, restores, and has the old content back', async () => {
  const changes: (string | null | undefined)[] = [];
  const watching = (async () => {
    for await (const { data } of gateway.socket().iterate<WatchSubscription>({ query: Watch.toString() })) {
      const to = data?.backupStatusChanged.to;
      changes.push(to);
      if (to === 'SUCCESS' || to === 'FAILED') return;
    }
  })();
  await until('somebody watches', () => gateway.query('{ feedCursor }').then(() => true));
  const { data: { createBackup } } = await gateway.query(Create, { input: { name: 'first', configurationId: '1', type: 'CONFIG' } });
  if (createBackup.__typename !== 'CreateBackupPayload') throw new Error(JSON.stringify(createBackup));
  const { id } = createBackup.backup;
  await watching;
  expect(changes).toEqual(['INITIALIZING', 'IN_PROGRESS', 'SUCCESS']);

  const { data: { backup } } = await gateway.query(BackupById, { id });
  expect(backup).toMatchObject({ status: 'SUCCESS', isValid: true, job: { status: 'COMPLETED', error: null } });
  const files = await readdir(backup?.contentFilePath ?? '');
  expect(files).toContain('manifest.json');
  expect(files).toContain('CUSTOM_RULES_CONFIG.tar.zst');

  const rules = join(gateway.dataDir, 'site/etc/rules');
  const [before, users] = [await readFile(join(rules, 'custom-rules.xml')), join(gateway.dataDir, 'site/etc/users')];
  await writeFile(join(rules, 'custom-rules.xml'), 'altered');
  await writeFile(join(rules, 'added.txt'), 'added');
  await rm(join(rules, 'reference-sets'), { recursive: true });
  await mkdir(users, { recursive: true });
  await writeFile(join(users, 'untouched.txt'), 'of another group');

  const { data: { createRestore } } = await gateway.query(CreateRestore, { input: { backupId: id, groups: ['CUSTOM_RULES_CONFIG'] } });
  if (createRestore.__typename !== 'CreateRestorePayload') throw new Error(JSON.stringify(createRestore));
  await gateway.query(StartRestore, { id: createRestore.restore.id });
  await until('the restore has ended', async () => {
    const { data: { restore } } = await gateway.query(RestoreById, { id: createRestore.restore.id });
    expect(restore).not.toMatchObject({ status: 'FAILED' });
    return restore?.status === 'SUCCESS';
  });
  expect(await readFile(join(rules, 'custom-rules.xml'))).toEqual(before);
  expect((await readdir(rules)).toSorted()).toEqual(['blocklist.current', 'building-blocks.json', 'custom-rules.xml', 'reference-sets', 'respond.sh']);
  expect(await readFile(join(users, 'untouched.txt'), 'utf8')).toBe('of another group');
});
