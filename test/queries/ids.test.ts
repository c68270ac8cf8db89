import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openGatewayDatabase, type TestDatabase } from '../support/database.ts';
import { startGateway, type TestGateway } from '../support/gateway.ts';
import { plantBackups, plantJobs, plantRestores, plantStore } from '../support/records.ts';

let gateway: TestGateway;
let database: TestDatabase;
/** One record of each type, by its type's name. */
const ids: Record<string, string> = {};
let jobId: string;

beforeAll(async () => {
  gateway = await startGateway();
  database = await openGatewayDatabase(gateway.dataDir);
  const store_id = await plantStore(database.sql);
  const [first, second] = await plantBackups(database.sql, [{ name: 'one', store_id }, { name: 'two', store_id }]);
  const [restore] = await plantRestores(database.sql, [{ backup_id: first ?? 0, backup_name: 'one' }]);
  await plantJobs(database.sql, [{ backup_id: second ?? 0 }, { backup_id: first ?? 0, restore_id: restore ?? 0, operation: 'RESTORE' }]);
  const { data } = await gateway.query(`{ deployment { id } hosts(first: 1) { nodes { id } } backupConfigurations { nodes { id } } backupStores { nodes { id } }
    backups(first: 1) { nodes { id } } restores { nodes { id } } jobs(first: 1) { nodes { id jobId } } }`);
  ids['Deployment'] = data.deployment.id;
  for (const [type, list] of [['Host', 'hosts'], ['BackupConfiguration', 'backupConfigurations'], ['BackupStore', 'backupStores'], ['Backup', 'backups'], ['Restore', 'restores'], ['Job', 'jobs']] as const) {
    ids[type] = data[list].nodes[0].id;
  }
  jobId = data.jobs.nodes[0].jobId;
});
afterAll(async () => {
  await database?.close();
  await gateway?.stop();
});

const globalId = (text: string): string => Buffer.from(text).toString('base64url');
const UNKNOWN = ['', ' ', '0', '-1', '1.0', '1e0', '99', '9007199254740993', '123456789012345678901234567890', 'garbage', '💥', 'Backup:1', globalId('Backup:'), globalId('Backup:0'), globalId('Backup:01'),
  globalId('Backup:1 '), globalId('Backup:99'), globalId('Backup:9999999999999999'), globalId('Backup:99999999999999999999'), globalId('Nothing:1'), globalId('constructor:1'), "' or 1=1 --"];

describe.each([['backup', 'Backup'], ['restore', 'Restore'], ['job', 'Job'], ['deployment', 'Deployment']] as const)('%s(id:)', (field, type) => {
  const find = async (id: unknown) => {
    const { data, errors } = await gateway.query(`query ($id: ID!) { ${field}(id: $id) { id } }`, { id });
    expect(errors).toBeUndefined();
    return data[field]?.id ?? null;
  };

  test('takes the global id and the number, as text and as a number', async () => {
    const number = Number(Buffer.from(ids[type] ?? '', 'base64url').toString().split(':')[1]);
    for (const id of [ids[type], String(number), number]) expect(await find(id)).toBe(ids[type]);
    const { data } = await gateway.query(`{ ${field}(id: ${number}) { id } }`);
    expect(data[field].id).toBe(ids[type]);
  });

  test('is null for an id of another type, and for whatever is no id', async () => {
    for (const [other, id] of Object.entries(ids)) if (other !== type) expect([other, await find(id)]).toEqual([other, null]);
    for (const id of UNKNOWN) expect([id, await find(id)]).toEqual([id, null]);
  });
});

test('job(id:) takes the documented jobId too, and no other record does', async () => {
  const { data } = await gateway.query('query ($id: ID!) { job(id: $id) { id } backup(id: $id) { id } restore(id: $id) { id } deployment(id: $id) { id } node(id: $id) { id } }', { id: jobId });
  expect(data).toEqual({ job: { id: ids['Job'] }, backup: null, restore: null, deployment: null, node: null });
  for (const id of [jobId.toUpperCase(), jobId.slice(1), `${jobId}0`, 'j00000000-0000-0000-0000-000000000000', 'j']) {
    expect((await gateway.query('query ($id: ID!) { job(id: $id) { id } }', { id })).data).toEqual({ job: null });
  }
});

test('deployment without an id is the default one', async () => {
  const { data } = await gateway.query('{ none: deployment { id } nil: deployment(id: null) { id } }');
  expect(data).toEqual({ none: { id: ids['Deployment'] }, nil: { id: ids['Deployment'] } });
});

test('backupByName finds the whole name in a deployment, and nothing in another', async () => {
  const find = async (name: string, deploymentId?: string | null) => (await gateway.query(
    'query ($name: String!, $deploymentId: ID) { backupByName(name: $name, deploymentId: $deploymentId) { name } }', { name, deploymentId })).data.backupByName?.name ?? null;
  expect(await find('one')).toBe('one');
  for (const deployment of [null, '1', ids['Deployment']]) expect(await find('one', deployment)).toBe('one');
  for (const deployment of ['2', 'unknown', ids['Backup']]) expect(await find('one', deployment)).toBeNull();
  for (const name of ['One', 'on', 'one ', '', '%']) expect(await find(name)).toBeNull();
});

describe('mutations take the same ids', () => {
  const change = async (field: string, input: string): Promise<any> => {
    const payload = field[0]?.toUpperCase() + field.slice(1);
    const { data, errors } = await gateway.query(`mutation { ${field}(input: ${input}) { __typename ... on RuleViolations { violations { rule } } } }`);
    expect(errors).toBeUndefined();
    return data[field].__typename === `${payload}Payload` ? 'done' : data[field].violations.map(({ rule }: any) => rule);
  };

  test.each<[string, string, (id: string) => string, string]>([
    ['updateBackup', 'Backup', (id) => `{ id: "${id}", description: "noted" }`, 'BACKUP_NOT_FOUND'],
    ['stageHost', 'Host', (id) => `{ id: "${id}" }`, 'HOST_NOT_FOUND'],
    ['stageBackupConfiguration', 'BackupConfiguration', (id) => `{ id: "${id}" }`, 'CONFIGURATION_NOT_FOUND'],
    ['setRebalancing', 'Deployment', (id) => `{ deploymentId: "${id}", rebalancing: false }`, 'DEPLOYMENT_NOT_FOUND'],
    ['deployStagedChanges', 'Deployment', (id) => `{ deploymentId: "${id}" }`, 'DEPLOYMENT_NOT_FOUND'],
  ])('%s', async (field, type, input, rule) => {
    const number = Buffer.from(ids[type] ?? '', 'base64url').toString().split(':')[1] ?? '';
    for (const id of [ids[type] ?? '', number]) expect(await change(field, input(id))).toBe('done');
    for (const id of ['99', 'garbage', ids[type === 'Backup' ? 'Restore' : 'Backup'] ?? '']) expect(await change(field, input(id))).toEqual([rule]);
  });

  test.each<[string, (id: string) => string, string, string]>([
    ['deleteBackup', (id) => `{ id: "${id}" }`, 'BACKUP_NOT_FOUND', 'Restore'],
    ['createRestore', (id) => `{ backupId: "${id}", groups: [DEPLOYMENT_CONFIG] }`, 'BACKUP_NOT_FOUND', 'Job'],
    ['updateRestore', (id) => `{ id: "${id}", status: REQUESTING }`, 'RESTORE_NOT_FOUND', 'Backup'],
    ['deleteRestore', (id) => `{ id: "${id}" }`, 'RESTORE_NOT_FOUND', 'Backup'],
    ['cancelJob', (id) => `{ id: "${id}" }`, 'JOB_NOT_FOUND', 'Backup'],
    ['createBackup', (id) => `{ name: "three", type: CONFIG, configurationId: "${id}" }`, 'CONFIGURATION_NOT_FOUND', 'Backup'],
    ['createBackup', (id) => `{ name: "three", type: CONFIG, configurationId: 1, hostId: "${id}" }`, 'HOST_NOT_FOUND', 'Backup'],
    ['createBackup', (id) => `{ name: "three", type: CONFIG, configurationId: 1, deploymentId: "${id}" }`, 'DEPLOYMENT_NOT_FOUND', 'Backup'],
    ['stageBackupConfiguration', (id) => `{ id: 1, dataBackupHostIds: ["${id}"] }`, 'HOST_NOT_FOUND', 'Backup'],
  ])('%s finds nothing for unknown ids and ids of another type', async (field, input, rule, other) => {
    for (const id of ['99', 'garbage', ids[other] ?? '']) expect(await change(field, input(id))).toEqual([rule]);
  });

  test('cancelJob takes global id, number and jobId', async () => {
    const number = Buffer.from(ids['Job'] ?? '', 'base64url').toString().split(':')[1];
    for (const id of [ids['Job'], number, jobId]) expect(await change('cancelJob', `{ id: "${id}" }`)).toEqual(['JOB_NOT_CANCELLABLE']);
  });
});

describe('node and nodes', () => {
  const FRAGMENTS = `__typename id ... on Deployment { name hasUndeployedChanges } ... on Host { hostname } ... on BackupConfiguration { retentionPeriodDays }
    ... on BackupStore { storeName: name } ... on Backup { backupName: name isValid } ... on Restore { restored: backupName } ... on Job { jobId }`;

  test('find a record of every type', async () => {
    for (const [type, id] of Object.entries(ids)) {
      const { data } = await gateway.query(`query ($id: ID!) { node(id: $id) { ${FRAGMENTS} } }`, { id });
      expect(data.node).toMatchObject({ __typename: type, id });
      expect(Object.keys(data.node).length).toBeGreaterThan(2);
    }
  });

  test('keep the order of the ids, with duplicates, and null for what is not there', async () => {
    const asked = [ids['Job'], 'garbage', ids['Backup'], ids['Host'], ids['Backup'], globalId('Backup:99'), '1', ids['Restore'], ids['Deployment'], ids['BackupStore'], ids['BackupConfiguration']];
    const { data } = await gateway.query(`query ($ids: [ID!]!) { nodes(ids: $ids) { ${FRAGMENTS} } }`, { ids: asked });
    expect(data.nodes.map((node: any) => node?.id ?? null)).toEqual(asked.map((id) => (Object.values(ids).includes(String(id)) ? id : null)));
    expect(data.nodes[2]).toEqual(data.nodes[4]);
    expect(data.nodes[2]).toMatchObject({ __typename: 'Backup', backupName: 'two' });
  });

  test('know global ids only, no numbers', async () => {
    const { data, errors } = await gateway.query('query ($ids: [ID!]!) { nodes(ids: $ids) { id } }', { ids: UNKNOWN });
    expect(errors).toBeUndefined();
    expect(data.nodes).toEqual(UNKNOWN.map(() => null));
    expect((await gateway.query('{ nodes(ids: []) { id } node(id: 1) { id } }')).data).toEqual({ nodes: [], node: null });
  });

  test('are refused for more than 100 ids', async () => {
    const ask = (count: number) => gateway.query('query ($ids: [ID!]!) { nodes(ids: $ids) { id } }', { ids: Array.from({ length: count }, () => ids['Backup']) });
    expect((await ask(100)).data.nodes).toHaveLength(100);
    expect((await ask(101)).errors?.[0]).toMatchObject({ message: expect.stringContaining('101'), extensions: { code: 'BAD_USER_INPUT' } });
  });
});

test('a removed restore record is found on no way', async () => {
  const [hidden] = await plantRestores(database.sql, [{ backup_name: 'one', status: 'PENDING' }]);
  await database.sql`update restores set is_removed = true where id = ${hidden ?? 0}`;
  const { data } = await gateway.query('query ($id: ID!, $number: ID!) { node(id: $id) { id } nodes(ids: [$id]) { id } restore(id: $number) { id } restores { totalCount nodes { id } } }',
    { id: globalId(`Restore:${hidden}`), number: hidden });
  expect(data).toEqual({ node: null, nodes: [null], restore: null, restores: { totalCount: 1, nodes: [{ id: ids['Restore'] }] } });
});
