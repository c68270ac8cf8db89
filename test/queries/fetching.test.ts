import { getNamedType, isCompositeType, isObjectType, type GraphQLObjectType, type GraphQLOutputType } from 'graphql';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { NODE_TYPES } from '../../src/graphql/ids.ts';
import { schema } from '../../src/graphql/schema.ts';
import { openGatewayDatabase, type TestDatabase } from '../support/database.ts';
import { startGateway, type TestGateway } from '../support/gateway.ts';
import { plantBackups, plantJobs, plantRestores, plantStore } from '../support/records.ts';

let gateway: TestGateway;
let database: TestDatabase;
const statements: string[] = [];

beforeAll(async () => {
  gateway = await startGateway({ onStatement: (text) => { statements.push(text); } });
  database = await openGatewayDatabase(gateway.dataDir);
  const { sql } = database;
  const store_id = await plantStore(sql);
  // A second deployment, so that a list has several of everything.
  await sql`insert into deployments (name, kind, product, appliance, version, build_version, file, staged, deployed)
    select 'other', 'NATIVE', product, appliance, '7.4.0', null, file, staged, deployed from deployments`;
  await sql`insert into hosts (deployment_id, number, hostname, is_console, status, components, version, ha_role)
    select 2, number, 'other-' || hostname, is_console, status, components, version, ha_role from hosts`;
  await sql`insert into backup_configurations (deployment_id, number, retention_period_days, data_backup_hosts, is_deployed) values (2, 1, 30, '{2,4}', true)`;

  // One that runs on 29 February alone, so that it stays as it is, and one that is paused.
  await sql`insert into schedules (deployment_id, name, operation, cron, time_zone, is_paused, type, host_id, store_id, name_pattern, description, keep_days, keep_last, recipient, next_run, last_run, last_outcome, last_reason, created_by) values
    (1, 'leap', 'BACKUP', '0 0 29 2 *', 'UTC', false, 'CONFIG', 1, 1, '{n}', 'note', 7, 3, 'age1', '2028-02-29 00:00:00+00', '2024-02-29 00:00:00+00', 'REFUSED', 'busy', 'admin'),
    (2, 'idle', 'VERIFY', '0 0 * * *', 'Europe/Berlin', true, null, null, null, null, null, null, null, null, null, null, null, null, 'admin')`;
  const backups = await plantBackups(sql, Array.from({ length: 50 }, (_, n) => ({
    name: `backup-${n}`, store_id: n % 2 === 0 ? store_id : 1, host_id: n % 5 === 0 ? null : (n % 4) + 1, deployment_id: n % 3 === 0 ? 2 : 1,
    status: n % 2 === 0 ? 'SUCCESS' : 'FAILED', configuration_id: n % 11 === 0 ? null : 1, product: 'acme-siem', appliance: n % 2 === 0 ? '3199' : '1', schedule_id: n % 7 === 0 ? 1 : null, is_kept: n % 2 === 0,
    ha_role: 'NONE', managed_host_addresses: ['192.0.2.21'], file_problems: n % 4 === 0 ? ['FILE_MISSING'] : [],
    ...(n % 6 === 0 ? {} : {
      description: `note ${n}`, build_version: 'b', time_completed: '2026-01-02 00:00:00+00', size_on_disk: n, content_file_path: `/b/${n}`, groups: ['USERS_CONFIG'],
      recipient: 'age1', wrapped_identity: 'x', retention_date: '2099-01-01 00:00:00+00',
    }),
  })));
  const restores = await plantRestores(sql, backups.map((id, n) => ({ backup_id: n % 3 === 0 ? null : id, backup_name: `backup-${n}`, host_id: n % 5 === 0 ? null : 1, deployment_id: (n % 2) + 1, ...(n % 4 === 0 ? {} : { time_initiated: '2026-01-02 00:00:00+00', time_completed: '2026-01-02 00:00:00+00', backup_filename: 'f' }) })));
  await plantJobs(sql, backups.flatMap((id, n) => [
    { backup_id: id, operation: 'BACKUP', host_id: 1, ...(n % 2 === 0 ? { bytes_done: 5, bytes_total: n % 4 === 0 ? 10 : null, files_done: 1, files_total: 2, messages: ['began'], error: 'no', time_started: '2026-01-02 00:00:00+00', time_ended: '2026-01-02 00:00:00+00' } : {}) },
    { restore_id: restores[n] ?? null, backup_id: id, operation: 'RESTORE' },
  ]));
});
afterAll(async () => {
  await database?.close();
  await gateway?.stop();
});

async function ask(query: string, variables?: Record<string, unknown>): Promise<any> {
  const { data, errors } = await gateway.query(query, variables);
  expect(errors).toBeUndefined();
  return data;
}

/** What a query alone makes the gateway ask the database: the worker's own statements come between in some runs, not in all. */
async function statementsOf(query: string, variables?: Record<string, unknown>): Promise<string[]> {
  let fewest: string[] | undefined;
  for (let run = 0; run < 4; run += 1) {
    statements.length = 0;
    await ask(query, variables);
    const asked = [...statements];
    if (fewest === undefined || asked.length < fewest.length) fewest = asked;
  }
  return fewest ?? [];
}

describe('only what is asked for is read', () => {
  const columns = (statement = ''): string[] => [...(/^select (.*?) from/s.exec(statement)?.[1] ?? '').replace(/\(.*/s, '').matchAll(/"(\w+)"/g)].map(([, name]) => name ?? '').filter((name) => !/^(backups|jobs|hosts|deployments)$/.test(name));

  test.each<[string, string[][]]>([
    ['{ backups { nodes { name } } }', [['id', 'name']]],
    ['{ backups { edges { node { name ...F } } } } fragment F on Backup { databaseId ... on Node { id } ... on Backup { status __typename } }', [['id', 'name', 'status']]],
    ['{ backups { edges { cursor } pageInfo { hasNextPage hasPreviousPage } } }', [['id']]],
    ['query ($no: Boolean = false, $yes: Boolean = true) { backups { nodes { name @skip(if: $yes) type @include(if: $no) ... @include(if: $yes) { version } } } }', [['id', 'version']]],
    ['{ backups { nodes { host { hostname } } } }', [['host_id', 'id'], ['hostname', 'id']]],
    ['{ backup(id: 1) { isEncrypted store { name } } }', [['id', 'recipient', 'store_id'], ['id', 'name']]],
    ['{ jobs(first: 1) { nodes { progress { filesDone } } } }', [['bytes_done', 'bytes_total', 'files_done', 'files_total', 'id']]],
    ['{ node(id: "QmFja3VwOjE") { ... on Backup { name } ... on Job { error messages } id } }', [['id', 'name']]],
    ['{ deployment { name hosts { nodes { hostname } } } }', [['id', 'name'], ['hostname', 'id']]],
    ['{ __typename }', []],
    ['{ backups { __typename } }', []],
  ])('%s', async (query, expected) => {
    expect((await statementsOf(query)).map((statement) => columns(statement).toSorted())).toEqual(expected);
  });
});

const JOB = 'id jobId status transitions(last: 2) { nodes { to job { status } } } backup { name } restore { status }';
const HOST = 'hostname storesArielData deployment { name }';
const DEPLOYMENT = 'name console { hostname } hosts(first: 2) { totalCount nodes { hostname deployment { version } } pageInfo { hasNextPage } }';
const BACKUP = `id name isValid validityProblems isVersionCompatible isEncrypted store { name status } deployment { ${DEPLOYMENT} }
  configuration { retentionPeriodDays dataBackupHosts { ${HOST} } } host { ${HOST} } job { ${JOB} }
  transitions(first: 5) { nodes { to at backup { name } } pageInfo { hasNextPage } } later: transitions(last: 1) { edges { cursor } }`;

// Deployments are few; each reads the page and the count of its own hosts.
const isOfDeployment = (text: string): boolean => text.includes('from "hosts"') && /deployment_id" = \$/.test(text);

test('a big query over backups costs as many statements for 50 as for one', async () => {
  const query = `query ($first: Int!) { backups(first: $first) { nodes { ${BACKUP} } } }`;
  const one = (await statementsOf(query, { first: 1 })).filter((text) => !isOfDeployment(text));
  const many = (await statementsOf(query, { first: 50 })).filter((text) => !isOfDeployment(text));
  expect(many.toSorted()).toEqual(one.toSorted());
});

test.each([
  ['backups', BACKUP], ['restores', `id status host { ${HOST} } deployment { ${DEPLOYMENT} } backup { ${BACKUP} } job { ${JOB} } transitions(first: 5) { nodes { to restore { status } } }`],
  ['jobs', `${JOB} progress { percent } backup { ${BACKUP} } restore { status backup { name job { ${JOB} } } }`],
  ['backupTransitions', `to backup { ${BACKUP} }`], ['jobTransitions', `to job { ${JOB} }`], ['hosts', HOST],
])('no statement of a big query over %s is sent for each of its rows', async (field, selection) => {
  const asked = await statementsOf(`{ ${field}(first: 50) { nodes { ${selection} } } }`);
  // Not once for all: what is reached on two ways of different length is read when each arrives.
  const times = [...Map.groupBy(asked, (text) => text).values()].map((same) => same.length);
  expect(Math.max(...times)).toBeLessThanOrEqual(3);
  expect(asked.filter(isOfDeployment).length).toBeLessThanOrEqual(4);
});

test('the same record reached on several ways is read once', async () => {
  const asked = await statementsOf('{ a: backup(id: 1) { name } b: node(id: "QmFja3VwOjE") { ... on Backup { name } } c: nodes(ids: ["QmFja3VwOjE", "QmFja3VwOjE"]) { ... on Backup { name } } }');
  expect(asked).toHaveLength(1);
});

/** A selection of everything below a type: fields that answer records and pages, down to a depth. */
function everything(type: GraphQLOutputType, depth: number): string {
  const named = getNamedType(type);
  if (!isCompositeType(named)) return '';
  if (!isObjectType(named)) return '{ __typename id }';
  if (named.name.endsWith('Connection')) return `{ nodes ${everything(fieldType(named, 'nodes'), depth)} pageInfo { hasNextPage hasPreviousPage } }`;
  // A worker's sign of life goes on between two questions.
  const fields = Object.values(named.getFields()).filter(({ name }) => name !== 'timeSeen').flatMap((field) =>
    isCompositeType(getNamedType(field.type)) && depth === 0 ? [] : [`${field.name}${everything(field.type, depth - 1)}`]);
  return `{ __typename ${fields.join(' ')} }`;
}

const objectType = (name: string): GraphQLObjectType => schema.getType(name) as GraphQLObjectType;
const fieldType = (type: GraphQLObjectType, name: string): GraphQLOutputType => type.getFields()[name]?.type as GraphQLOutputType;

describe('a field asked for alone answers as it does among all others', () => {
  const LISTS: Record<(typeof NODE_TYPES)[number], string> = {
    Deployment: 'deployments', Host: 'hosts', BackupConfiguration: 'backupConfigurations', BackupStore: 'backupStores',
    Backup: 'backups(first: 14)', Restore: 'restores(first: 14)', Job: 'jobs(first: 14)', Schedule: 'schedules',
  };
  /** Ways to all records of a type: the text around a selection, and the rows in the answer. */
  const ways = (type: (typeof NODE_TYPES)[number], ids: string[]): [string, (selection: string) => string, (data: any) => any[]][] => [
    ['list', (selection) => `{ list: ${LISTS[type]} { nodes ${selection} } }`, (data) => data.list.nodes],
    ['nodes', (selection) => `{ list: nodes(ids: ${JSON.stringify(ids)}) { ... on ${type} ${selection} } }`, (data) => data.list],
    ...(['Backup', 'Restore', 'Job'].includes(type) ? [
      ['transitions', (selection: string) => `{ list: ${type.toLowerCase()}Transitions(last: 14) { nodes { record: ${type.toLowerCase()} ${selection} } } }`, (data: any) => data.list.nodes.map(({ record }: any) => record)],
    ] as ReturnType<typeof ways> : []),
    ...(['Host', 'Deployment', 'BackupStore', 'BackupConfiguration', 'Job'].includes(type) ? [
      ['backups', (selection: string) => `{ list: backups(first: 14) { nodes { record: ${type === 'BackupStore' ? 'store' : type === 'BackupConfiguration' ? 'configuration' : type.toLowerCase()} ${selection} } } }`, (data: any) => data.list.nodes.map(({ record }: any) => record)],
    ] as ReturnType<typeof ways> : []),
  ];

  test.each(NODE_TYPES)('%s', async (name) => {
    const type = objectType(name);
    const { list } = await ask(`{ list: ${LISTS[name]} { nodes { id } } }`);
    for (const [, around, rowsOf] of ways(name, list.nodes.map(({ id }: { id: string }) => id))) {
      const together = rowsOf(await ask(around(everything(type, 2))));
      expect(together.length).toBeGreaterThan(1);
      for (const field of Object.values(type.getFields())) {
        const alone = rowsOf(await ask(around(`{ ${field.name}${everything(field.type, 1)} }`)));
        expect({ [field.name]: alone.map((row) => row?.[field.name]) }).toEqual({ [field.name]: together.map((row) => row?.[field.name]) });
      }
    }
  });

  test('JobProgress', async () => {
    const type = objectType('JobProgress');
    const read = async (selection: string) => (await ask(`{ jobs { nodes { progress ${selection} } } }`)).jobs.nodes.map((job: any) => job.progress);
    const together = await read(everything(type, 0));
    for (const { name } of Object.values(type.getFields())) {
      expect((await read(`{ ${name} }`)).map((progress: any) => progress?.[name])).toEqual(together.map((progress: any) => progress?.[name]));
    }
  });
});
