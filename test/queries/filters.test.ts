import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openGatewayDatabase, type TestDatabase } from '../support/database.ts';
import { startGateway, type TestGateway } from '../support/gateway.ts';
import { plantBackups, plantJobs, plantRestores, plantStore } from '../support/records.ts';

let gateway: TestGateway;
let database: TestDatabase;
let hostIds: Record<number, string>;
let deploymentId: string;

beforeAll(async () => {
  gateway = await startGateway();
  database = await openGatewayDatabase(gateway.dataDir);
  const store_id = await plantStore(database.sql);
  const [first] = await plantBackups(database.sql, [
    { name: 'Nightly-1', host_id: 1, initiated_by: 'ann', time_initiated: '2026-01-01 00:00:00.000999+00' },
    { name: 'nightly_2', host_id: 1, initiated_by: 'bob', time_initiated: '2026-01-01 00:00:00.001+00', status: 'FAILED' },
    { name: 'a%b', host_id: 2, type: 'DATA', time_initiated: '2026-01-02 00:00:00+00', status: 'MISSING' },
    { name: 'a\\b', host_id: 2, type: 'DATA', time_initiated: '2026-01-02 00:00:00.000001+00' },
    { name: 'Übung', host_id: null, time_initiated: '2026-01-03 00:00:00+00' },
  ].map((row) => ({ ...row, store_id })));
  await plantRestores(database.sql, [
    { backup_name: 'Nightly-1', host_id: 1 }, { backup_name: 'nightly-1', host_id: 2, status: 'FAILED' }, { backup_name: 'Nightly-1', host_id: null, status: 'PENDING' },
  ]);
  await plantJobs(database.sql, [
    { backup_id: first, operation: 'BACKUP' }, { operation: 'DELETE', status: 'FAILED' }, { operation: 'RESTORE', status: 'CANCELLED' }, { operation: 'DELETE' },
  ]);
  const { data } = await gateway.query('{ deployment { id } hosts { nodes { id databaseId } } }');
  deploymentId = data.deployment.id;
  hostIds = Object.fromEntries(data.hosts.nodes.map(({ id, databaseId }: any) => [databaseId, id]));
});
afterAll(async () => {
  await database?.close();
  await gateway?.stop();
});

const ALL = ['Nightly-1', 'nightly_2', 'a%b', 'a\\b', 'Übung'];

async function names(filter: object | null): Promise<string[]> {
  const { data, errors } = await gateway.query(
    'query ($filter: BackupFilter) { backups(filter: $filter, orderBy: { field: ID, direction: ASC }) { totalCount nodes { name } } }', { filter });
  expect(errors).toBeUndefined();
  expect(data.backups.totalCount).toBe(data.backups.nodes.length);
  return data.backups.nodes.map(({ name }: { name: string }) => name);
}

describe('backups', () => {
  test.each<[object | null, string[]]>([
    [null, ALL], [{}, ALL], [{ status: null, type: null, hostId: null, deploymentId: null, nameContains: null, initiatedBy: null, initiatedFrom: null, initiatedUntil: null }, ALL],
    [{ status: ['FAILED'] }, ['nightly_2']], [{ status: ['FAILED', 'MISSING', 'FAILED'] }, ['nightly_2', 'a%b']], [{ status: [] }, []], [{ status: ['CANCELLING'] }, []],
    [{ type: ['DATA'] }, ['a%b', 'a\\b']], [{ type: ['DATA', 'CONFIG'] }, ALL], [{ type: [] }, []],
    [{ initiatedBy: 'ann' }, ['Nightly-1']], [{ initiatedBy: 'Ann' }, []], [{ initiatedBy: '' }, []],
    [{ status: ['SUCCESS'], type: ['DATA'], hostId: '2' }, ['a\\b']], [{ status: ['SUCCESS'], type: [] }, []],
  ])('%j', async (filter, expected) => {
    expect(await names(filter)).toEqual(expected);
  });

  test('nameContains finds a text anywhere in the name, whatever its capitals', async () => {
    expect(await names({ nameContains: 'NIGHT' })).toEqual(['Nightly-1', 'nightly_2']);
    expect(await names({ nameContains: 'ly-' })).toEqual(['Nightly-1']);
    expect(await names({ nameContains: 'übung' })).toEqual(['Übung']);
    expect(await names({ nameContains: '' })).toEqual(ALL);
    expect(await names({ nameContains: 'nowhere' })).toEqual([]);
  });

  test('no character of nameContains has a special meaning', async () => {
    expect(await names({ nameContains: '%' })).toEqual(['a%b']);
    expect(await names({ nameContains: '_' })).toEqual(['nightly_2']);
    expect(await names({ nameContains: '\\' })).toEqual(['a\\b']);
    expect(await names({ nameContains: 'a%b' })).toEqual(['a%b']);
    expect(await names({ nameContains: 'a_b' })).toEqual([]);
    expect(await names({ nameContains: '\\%' })).toEqual([]);
    expect(await names({ nameContains: "' or true --" })).toEqual([]);
    expect(await names({ nameContains: '.*' })).toEqual([]);
  });

  test('initiatedFrom is inclusive, initiatedUntil exclusive', async () => {
    expect(await names({ initiatedFrom: '2026-01-01T00:00:00.001Z' })).toEqual(ALL.slice(1));
    expect(await names({ initiatedUntil: '2026-01-01T00:00:00.001Z' })).toEqual(['Nightly-1']);
    expect(await names({ initiatedFrom: '2026-01-02T00:00:00Z', initiatedUntil: '2026-01-02T00:00:00.001Z' })).toEqual(['a%b', 'a\\b']);
    expect(await names({ initiatedFrom: '2026-01-02T00:00:00Z', initiatedUntil: '2026-01-02T00:00:00Z' })).toEqual([]);
    expect(await names({ initiatedFrom: '2026-01-02T02:00:00+02:00', initiatedUntil: '2026-01-03T00:00:00.000Z' })).toEqual(['a%b', 'a\\b']);
    expect(await names({ initiatedFrom: '0001-01-01T00:00:00Z', initiatedUntil: '9999-12-31T23:59:59.999Z' })).toEqual(ALL);
  });

  test('hostId is the global id or the host_id; one that is no host of the deployment matches nothing', async () => {
    expect(await names({ hostId: '2' })).toEqual(['a%b', 'a\\b']);
    expect(await names({ hostId: 2 })).toEqual(['a%b', 'a\\b']);
    expect(await names({ hostId: hostIds[2] })).toEqual(['a%b', 'a\\b']);
    for (const hostId of ['3', '99', '0', '-1', '', 'unknown', deploymentId, '123456789012345678901234567890', Buffer.from('Host:99').toString('base64url')]) {
      expect(await names({ hostId })).toEqual([]);
    }
  });

  test('deploymentId is the global id or the number; another matches nothing', async () => {
    expect(await names({ deploymentId })).toEqual(ALL);
    expect(await names({ deploymentId: '1' })).toEqual(ALL);
    for (const other of ['2', 'unknown', hostIds[1], '']) expect(await names({ deploymentId: other })).toEqual([]);
  });

  test('a value that is none of the enum is refused', async () => {
    const { errors } = await gateway.query('query ($filter: BackupFilter) { backups(filter: $filter) { totalCount } }', { filter: { status: ['DONE'] } });
    expect(errors?.[0]?.message).toContain('DONE');
  });
});

test('restores are filtered by status, host, deployment and the whole name of the backup', async () => {
  const found = async (filter: object) => {
    const { data } = await gateway.query('query ($filter: RestoreFilter) { restores(filter: $filter, orderBy: { field: ID, direction: ASC }) { totalCount nodes { databaseId } } }', { filter });
    expect(data.restores.totalCount).toBe(data.restores.nodes.length);
    return data.restores.nodes.map(({ databaseId }: any) => databaseId);
  };
  expect(await found({})).toEqual([1, 2, 3]);
  expect(await found({ status: ['FAILED', 'PENDING'] })).toEqual([2, 3]);
  expect(await found({ status: [] })).toEqual([]);
  expect(await found({ hostId: '1' })).toEqual([1]);
  expect(await found({ hostId: hostIds[2] })).toEqual([2]);
  expect(await found({ hostId: 'unknown' })).toEqual([]);
  expect(await found({ deploymentId })).toEqual([1, 2, 3]);
  expect(await found({ deploymentId: 'unknown' })).toEqual([]);
  expect(await found({ backupName: 'Nightly-1' })).toEqual([1, 3]);
  expect(await found({ backupName: 'Nightly' })).toEqual([]);
  expect(await found({ backupName: 'Nightly-1', status: ['SUCCESS'] })).toEqual([1]);
});

test('jobs are filtered by status, operation and deployment', async () => {
  const found = async (filter: object) => {
    const { data } = await gateway.query('query ($filter: JobFilter) { jobs(filter: $filter) { totalCount nodes { databaseId: id operation status } } }', { filter });
    expect(data.jobs.totalCount).toBe(data.jobs.nodes.length);
    return data.jobs.nodes.map(({ operation, status }: any) => `${operation} ${status}`);
  };
  const all = ['DELETE COMPLETED', 'RESTORE CANCELLED', 'DELETE FAILED', 'BACKUP COMPLETED'];
  expect(await found({})).toEqual(all);
  expect(await found({ status: null, operation: null, deploymentId: null })).toEqual(all);
  expect(await found({ operation: ['DELETE'] })).toEqual(['DELETE COMPLETED', 'DELETE FAILED']);
  expect(await found({ operation: ['DELETE', 'RESTORE'], status: ['COMPLETED', 'CANCELLED'] })).toEqual(['DELETE COMPLETED', 'RESTORE CANCELLED']);
  expect(await found({ operation: [] })).toEqual([]);
  expect(await found({ status: [] })).toEqual([]);
  expect(await found({ deploymentId })).toEqual(all);
  expect(await found({ deploymentId: '7' })).toEqual([]);
});
