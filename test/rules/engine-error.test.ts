import { afterAll, beforeAll, expect, test } from 'vitest';
import { RULES, type MutationName } from '../../src/domain/rules.ts';
import { startCuttableDatabase, type CuttableDatabase } from '../support/cuttable.ts';
import { startGateway, until, type TestGateway } from '../support/gateway.ts';
import { done, finishedBackup, MUTATIONS, RuleWitness, type Input } from '../support/mutations.ts';
import { makeGatedSite, type GatedSite } from '../support/gated-site.ts';

let site: GatedSite;
let database: CuttableDatabase;
let gateway: TestGateway;
beforeAll(async () => {
  site = await makeGatedSite();
  database = await startCuttableDatabase(site.options.dataDir);
  gateway = await startGateway({ ...site.options, env: { ...site.options.env, DATABASE_URL: database.url, SECRET_KEY: 'f'.repeat(64) } });
});
afterAll(async () => {
  await gateway?.stop();
  await database?.stop();
  await site?.remove();
});

const COUNTS = `{ backups { totalCount nodes { id status description } } restores { nodes { id status } } jobs { totalCount }
  deployment { isRebalancing hasUndeployedChanges } }`;

test('while the database is away every mutation answers 1000 alone, and nothing of it was done when it is back', async () => {
  const backupId = await finishedBackup(gateway, 'first');
  const { restore } = await done(gateway, 'createRestore', { backupId, groups: ['USERS_CONFIG'] });
  const { data: { backup } } = await gateway.query('query ($id: ID!) { backup(id: $id) { job { jobId } } }', { id: backupId });
  const inputs: Record<MutationName, Input> = {
    createBackup: { name: 'second', configurationId: 1, type: 'CONFIG' },
    updateBackup: { id: backupId, description: 'changed' },
    deleteBackup: { id: backupId },
    createRestore: { backupId, groups: ['USERS_CONFIG'] },
    updateRestore: { id: restore.id, status: 'REQUESTING' },
    deleteRestore: { id: restore.id },
    cancelJob: { id: backup.job.jobId },
    verifyBackup: { id: backupId },
    drillRestore: { backupId },
    restorePlan: { backupId, groups: ['USERS_CONFIG'] },
    scanStore: {},
    createSchedule: { name: 'nightly', operation: 'VERIFY', cron: '0 2 * * *' },
    updateSchedule: { id: 1, paused: true },
    deleteSchedule: { id: 1 },
    applyRetention: {},
    setRebalancing: { rebalancing: true },
    stageHost: { id: 3, status: 'ACTIVE' },
    stageBackupConfiguration: { id: 1, retentionPeriodDays: 30 },
    deployStagedChanges: {},
  };
  expect(MUTATIONS.toSorted()).toEqual(Object.keys(RULES).toSorted());
  const before = await gateway.query(COUNTS);

  await database.cut();
  const witness = new RuleWitness();
  await Promise.all(MUTATIONS.map((mutation) => witness.expectBroken(gateway, mutation, inputs[mutation], [1000, 'ENGINE_ERROR'])));
  // What the input alone shows needs no database.
  await witness.expectBroken(gateway, 'createBackup', { name: '', configurationId: 1, type: 'CONFIG' }, [1002, 'NAME_REQUIRED', 'name']);

  await database.mend();
  const after = await until('the database is back', async () => {
    const answer = await gateway.query(COUNTS);
    return answer.errors === undefined ? answer : null;
  });
  expect(after).toEqual(before);
});
