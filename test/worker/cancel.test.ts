/**
 * Jobs that are cancelled while they run.
 */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import * as fs from 'node:fs';
import { until, type GatewayProcess } from '../support/gateway.ts';
import {
  cancelJob, childrenOf, createBackup, createRestore, deleteBackup, isWriting, makeBackup, makeIncompressible, openSite, requestRestore, restoreIs, showBackup,
  showJob, showRestore, statusesOf, type Site,
} from '../support/site.ts';
import { describeTree } from '../support/tree.ts';

/** A deleted or cancelled run is gone this soon, in milliseconds. */
const SOON = 2_000;

let site: Site;
let gateway: GatewayProcess;
let backupId: string;

beforeAll(async () => {
  site = await openSite({ USERS_CONFIG: [{ directory: './big' }] });
  makeIncompressible(site.at('big'), 160);
});
beforeEach(async () => { gateway = await site.running(); });
afterEach(({ task }) => (task.result?.state === 'fail' ? site.killAll() : undefined));
afterAll(() => site?.close());

const statusesByName = async (name: string) => (await site.sql`select to_status from transitions where kind = 'BACKUP' and label = ${name} order by position`).map((row) => row['to_status']);

/** Waits until the record is gone, and tells what must hold then. */
async function expectGone(id: string, jobId: string, name: string, patience = SOON): Promise<void> {
  await until('the backup is gone', async () => await showBackup(gateway, id) === null, patience);
  expect(statusesOf(await showJob(gateway, jobId))).toEqual(['SUBMITTED', 'EXECUTING', 'CANCELLING', 'CANCELLED']);
  const statuses = await statusesByName(name);
  expect(statuses).toEqual(['INITIALIZING', 'IN_PROGRESS', 'CANCELLING', 'DELETING', null]);
  expect(await site.oddities()).toEqual([]);
}

describe('a running backup', () => {
  test('that is deleted is gone within two seconds, files and record', async () => {
    const { id, jobId } = await createBackup(gateway, { name: 'deleted' });
    await until('it is at work', () => isWriting(gateway));
    const deletion = await deleteBackup(gateway, id);
    await expectGone(id, jobId, 'deleted');
    expect(statusesOf(await showJob(gateway, deletion))).toEqual(['SUBMITTED', 'EXECUTING', 'COMPLETED']);
  });

  test('whose job is cancelled is gone within two seconds, also while its source answers nothing', async () => {
    const { id, jobId } = await createBackup(gateway, { name: 'cancelled' });
    await until('it is at work', () => isWriting(gateway));
    for (const tar of childrenOf(gateway.process.pid ?? 0, 'tar')) process.kill(tar, 'SIGSTOP');
    expect(await cancelJob(gateway, jobId)).toMatchObject({ job: { status: 'CANCELLING' } });
    expect(await cancelJob(gateway, jobId)).not.toHaveProperty('violations');
    await expectGone(id, jobId, 'cancelled');
    expect(childrenOf(gateway.process.pid ?? 0, 'tar')).toEqual([]);
  });

  test('that is deleted in any moment of its first steps is gone within two seconds', async () => {
    for (let round = 0; round < 8; round += 1) {
      const { id, jobId } = await createBackup(gateway, { name: 'early' });
      await new Promise((resolve) => { setTimeout(resolve, round * 4); });
      await deleteBackup(gateway, id);
      await until('the backup is gone', async () => await showBackup(gateway, id) === null, SOON);
      expect((await showJob(gateway, jobId)).status).toBe('CANCELLED');
      expect(await site.oddities()).toEqual([]);
    }
  });

  test('that is deleted after its worker died goes as soon as a worker comes', async () => {
    const { id, jobId } = await createBackup(gateway, { name: 'orphaned' });
    await until('it is at work', () => isWriting(gateway));
    await gateway.kill();
    gateway = await site.start();
    await deleteBackup(gateway, id);
    expect(await showBackup(gateway, id)).toMatchObject({ status: 'CANCELLING' });
    await site.expireLeases(1);
    await expectGone(id, jobId, 'orphaned', 15_000);
  });
});

describe('a running restore', () => {
  let before: Record<string, string>;
  beforeAll(async () => {
    backupId = await makeBackup(await site.running(), { name: 'source' });
    fs.writeFileSync(site.at('big/block-0'), 'altered');
    before = describeTree(site.at('big'));
  });

  test('that is cancelled before it replaces anything has touched nothing, and can be requested again', async () => {
    const id = await createRestore(gateway, backupId, ['USERS_CONFIG']);
    const jobId = await requestRestore(gateway, id);
    await until('it unpacks', () => site.restoreLeftovers().length > 1);
    expect(await cancelJob(gateway, jobId)).toMatchObject({ job: { status: 'CANCELLING' } });
    await until('it is PENDING', async () => (await showRestore(gateway, id)).status === 'PENDING', SOON);
    expect(statusesOf(await showJob(gateway, jobId))).toEqual(['SUBMITTED', 'EXECUTING', 'CANCELLING', 'CANCELLED']);
    expect(site.restoreLeftovers()).toEqual([]);
    expect(describeTree(site.at('big'))).toEqual(before);

    const again = await requestRestore(gateway, id);
    expect(again).not.toBe(jobId);
    expect(await restoreIs(gateway, id, ['SUCCESS', 'FAILED'])).toMatchObject({ status: 'SUCCESS', job: { id: again } });
    expect(fs.statSync(site.at('big/block-0')).size).toBeGreaterThan(1_000_000);
    expect(site.restoreLeftovers()).toEqual([]);
  });

  test('whose worker dies while it is cancelled is PENDING again, with nothing left beside the target', async () => {
    const id = await createRestore(gateway, backupId, ['USERS_CONFIG']);
    const jobId = await requestRestore(gateway, id);
    await until('it unpacks', () => site.restoreLeftovers().length > 1);
    gateway.process.kill('SIGSTOP');
    const other = await site.start();
    await cancelJob(other, jobId);
    await gateway.kill();
    await site.expireLeases();
    await until('it is PENDING', async () => (await showRestore(other, id)).status === 'PENDING');
    expect(site.restoreLeftovers()).toEqual([]);
    await other.query('mutation ($id: ID!) { deleteRestore(input: { id: $id }) { __typename } }', { id });
  });

  test('whose record is deleted runs to its end, and leaves no record', async () => {
    fs.writeFileSync(site.at('big/block-0'), 'altered');
    const id = await createRestore(gateway, backupId, ['USERS_CONFIG']);
    const jobId = await requestRestore(gateway, id);
    await until('it unpacks', () => site.restoreLeftovers().length > 1);
    await gateway.query('mutation ($id: ID!) { deleteRestore(input: { id: $id }) { __typename } }', { id });
    expect(await showRestore(gateway, id)).toBeNull();
    await until('its job has ended', async () => (await showJob(gateway, jobId)).status === 'COMPLETED');
    expect(fs.statSync(site.at('big/block-0')).size).toBeGreaterThan(1_000_000);
    expect(await site.sql`select from restores where is_removed`).toHaveLength(0);
  });
});
