import { afterAll, beforeAll, expect, test } from 'vitest';
import { openGatewayDatabase, type TestDatabase } from '../support/database.ts';
import { startGateway, type TestGateway } from '../support/gateway.ts';
import { plantBackups, plantJobs, plantStore } from '../support/records.ts';

let gateway: TestGateway;
let database: TestDatabase;

beforeAll(async () => {
  gateway = await startGateway();
  database = await openGatewayDatabase(gateway.dataDir);
  const store_id = await plantStore(database.sql);
  const backups = await plantBackups(database.sql, [
    { name: 'one', store_id, status: 'MISSING', description: 'first' }, { name: 'two', store_id, status: 'FAILED', type: 'DATA', host_id: 2 },
  ]);
  await plantJobs(database.sql, backups.map((id) => ({ backup_id: id })));
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

test('@skip and @include leave out fields, fragments and whole records, by variables and their defaults', async () => {
  const query = `query ($yes: Boolean!, $no: Boolean = false) { backup(id: 1) {
    name @include(if: $yes) description @skip(if: $no)
    type @include(if: $no) status @skip(if: $yes)
    version @include(if: $yes) @skip(if: $yes)
    ...Times @include(if: $no)
    ... @include(if: $yes) { isEncrypted store @skip(if: $no) { name status @include(if: $no) } host @skip(if: $yes) { hostname } }
    job @include(if: $yes) { status @skip(if: $yes) operation }
  } none: backups @include(if: $no) { totalCount } }
  fragment Times on Backup { timeInitiated timeCompleted }`;
  expect(await ask(query, { yes: true })).toEqual({
    backup: { name: 'one', description: 'first', isEncrypted: false, store: { name: 'offsite' }, job: { operation: 'BACKUP' } },
  });
  const turned = await ask(query, { yes: false, no: true });
  expect(Object.keys(turned.backup)).toEqual(['type', 'status', 'timeInitiated', 'timeCompleted']);
  expect(turned.none).toEqual({ totalCount: 2 });
});

test('the same field twice, once left out, is answered all the same', async () => {
  expect(await ask('query ($no: Boolean!) { backup(id: 1) { name @include(if: $no) ...N host @include(if: $no) { id } } } fragment N on Backup { name }', { no: false }))
    .toEqual({ backup: { name: 'one' } });
});

test('named fragments nest, on records, connections, edges and pages', async () => {
  const { backups } = await ask(`{ backups(orderBy: { field: ID, direction: ASC }) { ...List } }
    fragment List on BackupConnection { ...Count edges { ...Edge } pageInfo { ...Info } }
    fragment Count on BackupConnection { totalCount }
    fragment Edge on BackupEdge { node { ...Deep } }
    fragment Info on PageInfo { hasNextPage }
    fragment Deep on Backup { ...Name store { ...Store } job { backup { ...Name status } } }
    fragment Name on Backup { name }
    fragment Store on BackupStore { storeName: name type }`);
  expect(backups).toEqual({
    totalCount: 2, pageInfo: { hasNextPage: false },
    edges: [['one', 'MISSING'], ['two', 'FAILED']].map(([name, status]) => ({ node: { name, store: { storeName: 'offsite', type: 'DIRECTORY' }, job: { backup: { name, status } } } })),
  });
});

test('selections of the same field are merged, wherever they stand', async () => {
  expect(await ask(`{ backup(id: 2) { host { hostname } ...Host ... on Backup { host { version } } ... on Node { ... on Backup { host { status } } } } }
    fragment Host on Backup { host { databaseId } }`)).toEqual({ backup: { host: { hostname: 'ep1', version: '7.5.0', databaseId: 2, status: 'ACTIVE' } } });
  expect(await ask('{ backups(first: 1) { nodes { name } } backups(first: 1) { nodes { status } edges { node { type } } } }'))
    .toEqual({ backups: { nodes: [{ name: 'two', status: 'FAILED' }], edges: [{ node: { type: 'DATA' } }] } });
});

test('aliases ask for one field several times, with arguments of their own', async () => {
  const data = await ask(`{
    a: backup(id: 1) { first: transitions(first: 1) { nodes { from to } } last: transitions(last: 1) { nodes { from to } pageInfo { hasPreviousPage } } all: transitions { nodes { to } } none: transitions(first: 0) { nodes { to } } title: name name }
    b: backup(id: 2) { first: transitions(first: 1) { nodes { to } } other: name }
    c: backup(id: 3) { name }
    asc: backups(orderBy: { field: NAME, direction: ASC }) { nodes { name } }
    desc: backups(orderBy: { field: NAME, direction: DESC }) { nodes { status } }
    data: backups(filter: { type: [DATA] }) { totalCount nodes { type } }
  }`);
  expect(data).toEqual({
    a: {
      first: { nodes: [{ from: null, to: 'SUCCESS' }] }, last: { nodes: [{ from: 'SUCCESS', to: 'MISSING' }], pageInfo: { hasPreviousPage: true } },
      all: { nodes: [{ to: 'SUCCESS' }, { to: 'MISSING' }] }, none: { nodes: [] }, title: 'one', name: 'one',
    },
    b: { first: { nodes: [{ to: 'INITIALIZING' }] }, other: 'two' }, c: null,
    asc: { nodes: [{ name: 'one' }, { name: 'two' }] }, desc: { nodes: [{ status: 'FAILED' }, { status: 'MISSING' }] }, data: { totalCount: 1, nodes: [{ type: 'DATA' }] },
  });
});

test('fragments on interfaces and on other types of a node answer what fits', async () => {
  const { node, backup, result } = await ask(`mutation ($id: ID!) { result: updateBackup(input: { id: $id }) {
      ... on UserError { message } ... on UpdateBackupPayload { backup { ... on Node { id __typename } description } } } }`, { id: '99' })
    .then(async (refused) => ({ ...await ask('query ($id: ID!) { node(id: $id) { ... on Node { id ... on Backup { name } } ... on Backup { status ... on Node { ... on Backup { type } } } ... on Job { jobId } __typename } backup(id: 1) { ... on Node { id } } }',
      { id: Buffer.from('Backup:1').toString('base64url') }), result: refused.result }));
  const id = Buffer.from('Backup:1').toString('base64url');
  expect(node).toEqual({ __typename: 'Backup', id, name: 'one', status: 'MISSING', type: 'CONFIG' });
  expect(backup).toEqual({ id });
  expect(result).toEqual({ message: 'The backup does not exist.' });
});

test('the payload of a mutation answers every field of its records', async () => {
  const { updateBackup } = await ask(`mutation { updateBackup(input: { id: 1, description: "noted" }) { ... on UpdateBackupPayload { backup {
    ...B host { hostname } store { name } job { status backup { ...B } } transitions(last: 1) { nodes { to backup { ...B } } } } } } }
    fragment B on Backup { id name description isValid validityProblems isVersionCompatible }`);
  const same = { id: expect.any(String), name: 'one', description: 'noted', isValid: false, validityProblems: expect.any(Array), isVersionCompatible: true };
  expect(updateBackup.backup).toEqual({ ...same, host: null, store: { name: 'offsite' }, job: { status: 'COMPLETED', backup: same }, transitions: { nodes: [{ to: 'MISSING', backup: same }] } });
});

test('a subscription resolves the same selections: aliases, fragments and variables', async () => {
  const query = 'subscription ($id: ID!, $yes: Boolean!) { change: backupStatusChanged(id: $id) { ...C from @skip(if: $yes) } } fragment C on BackupStatusChange { to backup { ... on Node { id } title: name job { operation @include(if: $yes) } } }';
  for await (const { data } of gateway.socket().iterate<any>({ query, variables: { id: '1', yes: true } })) {
    expect(data).toEqual({ change: { to: 'MISSING', backup: { id: expect.any(String), title: 'one', job: { operation: 'BACKUP' } } } });
    break;
  }
});
