import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { BACKUP_ORDER_FIELDS } from '../../src/records/backups.ts';
import { RESTORE_ORDER_FIELDS } from '../../src/records/restores.ts';
import { openGatewayDatabase, type TestDatabase } from '../support/database.ts';
import { startGateway, type TestGateway } from '../support/gateway.ts';
import { plantBackups, plantJobs, plantRestores, plantStore } from '../support/records.ts';

let gateway: TestGateway;
let database: TestDatabase;
let store: number;
const counts: string[] = [];

const LONGEST = 2 ** 53 - 1;
/** Ties, nulls, capitals and umlauts, instants that differ in microseconds only, a size that is the greatest. */
const BACKUPS = [
  { name: 'alpha', initiated_by: 'ann', time_initiated: '2026-01-01 00:00:00.000001+00', status: 'SUCCESS', host_id: 1 },
  { name: 'Beta', initiated_by: 'Ann', time_initiated: '2026-01-01 00:00:00.000002+00', status: 'FAILED', host_id: 2, description: 'x' },
  { name: 'beta', initiated_by: 'ann', time_initiated: '2026-01-01 00:00:00.000003+00', status: 'SUCCESS', host_id: 2, description: '' },
  { name: '10', initiated_by: 'bob', time_initiated: '2026-01-01 00:00:00.000003+00', status: 'MISSING', host_id: 3, size_on_disk: LONGEST },
  { name: '9', initiated_by: 'ärger', time_initiated: '2026-01-01 00:00:00+00', status: 'DELETING', host_id: 4, size_on_disk: 0 },
  { name: 'gamma', initiated_by: 'ann', time_initiated: '2026-01-01 00:00:00.999999+00', status: 'INITIALIZING', host_id: null, description: 'x' },
  { name: 'delta', initiated_by: 'bob', time_initiated: '2026-01-01 00:00:01+00', status: 'IN_PROGRESS', host_id: null, description: "it's \"quoted\" \\ and 🙂" },
  { name: 'epsilon', initiated_by: 'bob', time_initiated: '1999-12-31 23:59:59.5+00', status: 'CANCELLING', host_id: 1, version: '7.4.0' },
  { name: 'eta', initiated_by: 'ann', time_initiated: '2026-01-01 00:00:00.000001+00', type: 'DATA', host_id: 2, size_on_disk: 10, content_file_path: '/b/2', time_completed: '2026-01-02 00:00:00.000002+00' },
  { name: 'theta', initiated_by: 'ann', time_initiated: '2026-01-01 00:00:00.000001+00', type: 'DATA', host_id: null, size_on_disk: 10, content_file_path: '/B/1', time_completed: '2026-01-02 00:00:00.000001+00' },
  { name: 'iota', initiated_by: 'ann', time_initiated: '9999-12-31 23:59:59.999999+00', type: 'DATA', host_id: 1, size_on_disk: 9, content_file_path: '/b/10', time_completed: '2026-01-02 00:00:00.000001+00' },
];
const RESTORES = [
  { backup_name: 'beta', time_initiated: '2026-01-01 00:00:00.000001+00', time_completed: '2026-01-01 00:00:01.000001+00', backup_filename: 'b1' },
  { backup_name: 'Beta', time_initiated: '2026-01-01 00:00:00.000002+00', time_completed: '2026-01-01 00:00:01.000001+00', backup_filename: 'b1', is_cross_deployment_restore: true },
  { backup_name: 'beta', time_initiated: '2026-01-01 00:00:00.000001+00', time_completed: '2026-01-01 00:00:01+00', backup_filename: 'B1', backup_version: '7.4.0' },
  { backup_name: 'alpha', status: 'FAILED', initiated_by: 'bob', is_cross_deployment_restore: true, backup_type: 'DATA' },
  { backup_name: 'alpha', status: 'FAILED', initiated_by: 'Ärger', backup_version: '10' },
  { backup_name: 'omega', time_initiated: '2026-02-01 00:00:00+00', initiated_by: 'bob' },
  { backup_name: 'zeta', status: 'PENDING', host_id: null },
];

beforeAll(async () => {
  gateway = await startGateway({ onStatement: (text) => { if (text.includes('count(*)')) counts.push(text); } });
  database = await openGatewayDatabase(gateway.dataDir);
  store = await plantStore(database.sql);
  const backups = await plantBackups(database.sql, BACKUPS.map((row) => ({ ...row, store_id: store })));
  await plantRestores(database.sql, RESTORES);
  await plantJobs(database.sql, backups.map((id) => ({ backup_id: id })));
});
afterAll(async () => {
  await database?.close();
  await gateway?.stop();
});

interface Arguments { first?: number; after?: string | null; last?: number; before?: string | null }
interface Connection { edges: { cursor: string }[]; pageInfo: { hasNextPage: boolean; hasPreviousPage: boolean; startCursor: string | null; endCursor: string | null } }
/** A list: its field, more arguments of it, and the field that holds it. */
interface List { field: string; more?: string; of?: string }

const text = ({ field, more = '', of = '' }: List): string => {
  const list = `${field}(first: $first, after: $after, last: $last, before: $before ${more}) { edges { cursor } pageInfo { hasNextPage hasPreviousPage startCursor endCursor } }`;
  return `query ($first: Int, $after: String, $last: Int, $before: String) { ${of === '' ? list : `of: ${of} { ${list} }`} }`;
};

async function read(list: List, args: Arguments): Promise<Connection> {
  const { data, errors } = await gateway.query(text(list), { ...args });
  expect(errors).toBeUndefined();
  return list.of === undefined ? data[list.field] : data.of[list.field];
}

/** Reads the whole list in pages, and looks at each page's own account of where it lies. */
async function walk(list: List, size: number, direction: 'forward' | 'backward'): Promise<string[]> {
  const cursors: string[] = [];
  for (let at: string | null = null; ;) {
    const page: Connection = await read(list, direction === 'forward' ? { first: size, after: at } : { last: size, before: at });
    const found = page.edges.map(({ cursor }) => cursor);
    const { hasNextPage, hasPreviousPage, startCursor, endCursor } = page.pageInfo;
    expect([startCursor, endCursor]).toEqual([found[0] ?? null, found.at(-1) ?? null]);
    const isFirst = cursors.length === 0;
    expect(direction === 'forward' ? hasPreviousPage : hasNextPage).toBe(!isFirst);
    if (direction === 'forward') cursors.push(...found);
    else cursors.unshift(...found);
    if (!(direction === 'forward' ? hasNextPage : hasPreviousPage)) return cursors;
    expect(found).toHaveLength(size);
    at = direction === 'forward' ? endCursor : startCursor;
  }
}

async function expectSamePages(list: List, length: number): Promise<void> {
  const whole = await read(list, { first: 100 });
  const all = whole.edges.map(({ cursor }) => cursor);
  expect(new Set(all).size).toBe(length);
  expect(whole.pageInfo).toMatchObject({ hasNextPage: false, hasPreviousPage: false });
  for (const size of [1, 3, 7]) {
    for (const direction of ['forward', 'backward'] as const) expect(await walk(list, size, direction)).toEqual(all);
  }
}

/** By code point, as Postgres sorts text with collation C; numbers as numbers; null after all. */
function compare(a: unknown, b: unknown): number {
  if (a === null || b === null) return Number(a === null) - Number(b === null);
  if (typeof a === 'string') return Buffer.compare(Buffer.from(a), Buffer.from(b as string));
  return Number(a) - Number(b);
}

const UNDERSCORED: Record<string, string> = { HOST_ID: 'host { databaseId }', ID: 'databaseId' };
const fieldOf = (order: string): string => UNDERSCORED[order] ?? order.toLowerCase().replaceAll(/_(\w)/g, (_all, letter: string) => letter.toUpperCase());

describe.each([
  ['backups', BACKUP_ORDER_FIELDS, BACKUPS.length], ['restores', RESTORE_ORDER_FIELDS, RESTORES.length],
] as const)('%s', (field, orders, length) => {
  test.each(orders.flatMap((order) => ['ASC', 'DESC'].map((direction) => [order, direction] as const)))(
    'by %s %s are the same in pages of any size, forward and backward, and in that order', async (order, direction) => {
      const more = `orderBy: { field: ${order}, direction: ${direction} }`;
      await expectSamePages({ field, more }, length);

      const { data } = await gateway.query(`{ ${field}(${more}) { nodes { databaseId value: ${fieldOf(order)} } } }`);
      const rows = (data[field].nodes as { databaseId: number; value: any }[]).map(({ databaseId, value }) => ({ id: databaseId, value: value?.databaseId ?? value }));
      // Instants are answered in milliseconds, and sorted by microseconds: those are compared by the pages alone.
      const sorted = rows.toSorted((a, b) => (compare(a.value, b.value) || (order.startsWith('TIME_') ? 0 : a.id - b.id)) * (direction === 'ASC' ? 1 : -1));
      expect(rows.map(({ value }) => value)).toEqual(sorted.map(({ value }) => value));
      if (!order.startsWith('TIME_')) expect(rows).toEqual(sorted);
    },
  );
});

test('instants that differ in microseconds only are sorted by them, ties by the id', async () => {
  const { data } = await gateway.query('{ backups(first: 6, orderBy: { field: TIME_INITIATED, direction: ASC }) { nodes { name } } }');
  expect(data.backups.nodes.map(({ name }: any) => name)).toEqual(['epsilon', '9', 'alpha', 'eta', 'theta', 'Beta']);
});

test.each<[List, number]>([
  [{ field: 'jobs' }, BACKUPS.length], [{ field: 'hosts' }, 4], [{ field: 'deployments' }, 1], [{ field: 'backupStores' }, 3],
  [{ field: 'backupConfigurations' }, 1], [{ field: 'hosts', of: 'deployment' }, 4],
  [{ field: 'jobTransitions' }, 3 * BACKUPS.length], [{ field: 'backupTransitions' }, 16],
  [{ field: 'transitions', of: 'restore(id: 1)' }, 5], [{ field: 'transitions', of: 'backup(id: 2)' }, 2], [{ field: 'transitions', of: 'job(id: 3)' }, 3],
])('$field of $of is the same in pages of any size, forward and backward', async (list, length) => {
  await expectSamePages(list, length);
});

test('without first and last a list gives its first 50, and tells that there are more', async () => {
  await plantJobs(database.sql, Array.from({ length: 45 }, () => ({ operation: 'SCAN' })));
  const page = await read({ field: 'jobs' }, {});
  expect(page.edges).toHaveLength(50);
  expect(page.pageInfo).toMatchObject({ hasNextPage: true, hasPreviousPage: false });
});

test('rows that come and go between two pages do not shift the others', async () => {
  const list = { field: 'backups', more: 'filter: { initiatedBy: "shift" }, orderBy: { field: NAME, direction: ASC }' };
  const names = async (args: Arguments) => {
    const { data } = await gateway.query(text(list).replace('edges {', 'edges { node { name }'), { ...args });
    return { names: data.backups.edges.map(({ node }: any) => node.name), ...data.backups.pageInfo };
  };
  const row = (name: string) => ({ name: `shift-${name}`, initiated_by: 'shift', store_id: store });
  await plantBackups(database.sql, ['b', 'd', 'f', 'h', 'j'].map(row));
  const first = await names({ first: 2 });
  expect(first.names).toEqual(['shift-b', 'shift-d']);

  await plantBackups(database.sql, ['a', 'c', 'e'].map(row));
  await database.sql`update backups set status = 'DELETING' where name in ('shift-b', 'shift-d')`;
  await database.sql`delete from backups where name in ('shift-b', 'shift-d')`;

  const second = await names({ first: 2, after: first.endCursor });
  expect(second).toMatchObject({ names: ['shift-e', 'shift-f'], hasNextPage: true, hasPreviousPage: true });
  expect(await names({ last: 5, before: second.startCursor })).toMatchObject({ names: ['shift-a', 'shift-c'], hasNextPage: true, hasPreviousPage: false });

  await database.sql`update backups set status = 'DELETING' where name in ('shift-h', 'shift-j')`;
  await database.sql`delete from backups where name in ('shift-h', 'shift-j')`;
  expect(await names({ first: 2, after: second.endCursor })).toMatchObject({ names: [], hasNextPage: false, hasPreviousPage: true, startCursor: null, endCursor: null });
  await database.sql`update backups set status = 'DELETING' where initiated_by = 'shift'`;
  await database.sql`delete from backups where initiated_by = 'shift'`;
});

describe('page arguments', () => {
  const list = { field: 'backups', more: 'orderBy: { field: ID, direction: ASC }' };
  let all: string[];
  beforeAll(async () => { all = (await read(list, { first: 100 })).edges.map(({ cursor }) => cursor); });
  const cursors = async (args: Arguments) => {
    const { edges, pageInfo } = await read(list, args);
    return [edges.map(({ cursor }) => all.indexOf(cursor)), pageInfo.hasPreviousPage, pageInfo.hasNextPage];
  };

  test('first, last, after and before together cut what Relay says', async () => {
    const end = all.length - 1;
    expect(await cursors({ first: 5, last: 2 })).toEqual([[3, 4], true, true]);
    expect(await cursors({ first: 2, last: 5 })).toEqual([[0, 1], false, true]);
    expect(await cursors({ first: 100, last: 1 })).toEqual([[end], true, false]);
    expect(await cursors({ after: all[1], before: all[4] })).toEqual([[2, 3], true, true]);
    expect(await cursors({ first: 1, after: all[1], before: all[4] })).toEqual([[2], true, true]);
    expect(await cursors({ last: 1, after: all[1], before: all[4] })).toEqual([[3], true, true]);
    expect(await cursors({ first: 9, last: 1, after: all[1], before: all[4] })).toEqual([[3], true, true]);
    expect(await cursors({ after: all[4], before: all[1] })).toEqual([[], true, true]);
    expect(await cursors({ last: 3, before: all[1] })).toEqual([[0], false, true]);
    expect(await cursors({ first: 3, after: all[end] })).toEqual([[], true, false]);
  });

  test('none are given where none are asked for, and whether there are others is told all the same', async () => {
    expect(await cursors({ first: 0 })).toEqual([[], false, true]);
    expect(await cursors({ last: 0 })).toEqual([[], true, false]);
    expect(await cursors({ first: 0, after: all[0] })).toEqual([[], true, true]);
    expect(await cursors({ first: 3, last: 0 })).toEqual([[], true, true]);
  });

  const LISTS = ['backups', 'restores', 'jobs', 'hosts', 'deployments', 'backupStores', 'backupConfigurations', 'backupTransitions', 'restoreTransitions', 'jobTransitions'];

  test.each([['first', -1], ['first', 101], ['last', -1], ['last', 101], ['first', 2 ** 31 - 1]])('%s: %i is refused with BAD_USER_INPUT by every list', async (name, number) => {
    for (const field of LISTS) {
      const { errors } = await gateway.query(`{ ${field}(${name}: ${number}) { edges { cursor } } }`);
      expect(errors?.[0]).toMatchObject({ message: expect.stringContaining(String(number)), path: [field, 'edges'].slice(0, errors?.[0]?.path?.length), extensions: { code: 'BAD_USER_INPUT' } });
    }
    for (const field of LISTS.slice(0, 7)) {
      const { errors } = await gateway.query(`{ ${field}(${name}: ${number}) { totalCount } }`);
      expect(errors?.[0]?.extensions?.code).toBe('BAD_USER_INPUT');
    }
  });

  const code = async (field: string, more: string, cursor: string): Promise<(string | undefined)[]> => Promise.all(['after', 'before'].map(async (name) => {
    const { errors } = await gateway.query(`query ($cursor: String) { ${field}(${name}: $cursor ${more}) { edges { cursor } } }`, { cursor });
    return errors?.[0]?.extensions?.code;
  }));
  const REFUSED = ['CURSOR_INVALID', 'CURSOR_INVALID'];

  test('a cursor of another order, of the opposite direction or of another list is refused with CURSOR_INVALID', async () => {
    const byId = all[0] ?? '';
    expect(await code('backups', 'orderBy: { field: ID, direction: ASC }', byId)).toEqual([undefined, undefined]);
    expect(await code('backups', 'orderBy: { field: NAME, direction: ASC }', byId)).toEqual(REFUSED);
    expect(await code('backups', 'orderBy: { field: HOST_ID, direction: ASC }', byId)).toEqual(REFUSED);
    expect(await code('backups', 'orderBy: { field: ID, direction: DESC }', byId)).toEqual(REFUSED);
    expect(await code('restores', 'orderBy: { field: ID, direction: ASC }', byId)).toEqual(REFUSED);
    for (const field of LISTS.slice(1)) expect(await code(field, '', byId)).toEqual(REFUSED);
  });

  const forged = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url');

  test.each([
    '', ' ', 'garbage', '💥', '=====', 'bnVsbA', forged(null), forged([]), forged({}), forged(['backups TIME_INITIATED ASC']), forged(['backups TIME_INITIATED ASC', 1, 1]),
    ...['', '2026', '2026-13-01 00:00:00+00', '2026-02-30 00:00:00+00', '2026-02-28 25:00:00+00', '2026-02-28 24:00:00+00', '0000-01-01 00:00:00+00', 'infinity', "' or true --", '2026-02-28 00:00:00+99']
      .map((value) => forged(['backups TIME_INITIATED ASC', value, 1])),
    forged(['backups TIME_INITIATED ASC', '2026-02-28 00:00:00+00', '1']), forged(['backups TIME_INITIATED ASC', '2026-02-28 00:00:00+00', 1.5]), forged(['backups TIME_INITIATED ASC', '2026-02-28 00:00:00+00', 1e300]),
    forged(['backups TIME_INITIATED ASC', ['2026-02-28 00:00:00+00'], 1]),
  ])('the cursor %j is refused with CURSOR_INVALID', async (cursor) => {
    expect(await code('backups', 'orderBy: { field: TIME_INITIATED, direction: ASC }', cursor)).toEqual(REFUSED);
    for (const field of ['backups', 'jobTransitions', 'restoreTransitions', 'hosts']) expect(await code(field, '', cursor)).toEqual(REFUSED);
  });

  test.each([['SIZE_ON_DISK', '99999999999999999999'], ['SIZE_ON_DISK', '1.5'], ['NAME', 'a\0b'], ['HOST_ID', '']])('a forged %s of %j is refused with CURSOR_INVALID', async (order, value) => {
    expect(await code('backups', `orderBy: { field: ${order}, direction: ASC }`, forged([`backups ${order} ASC`, value, 1]))).toEqual(REFUSED);
  });
});

describe('totalCount', () => {
  test('is the whole list after its filter, whatever the page', async () => {
    const { data } = await gateway.query('{ all: backups(first: 2) { totalCount } none: backups(first: 0) { totalCount nodes { id } } data: backups(last: 1, filter: { type: [DATA] }) { totalCount } restores { totalCount } hosts(first: 1) { totalCount } deployment { hosts(first: 1) { totalCount } } }');
    expect(data).toEqual({
      all: { totalCount: BACKUPS.length }, none: { totalCount: BACKUPS.length, nodes: [] }, data: { totalCount: 3 },
      restores: { totalCount: RESTORES.length }, hosts: { totalCount: 4 }, deployment: { hosts: { totalCount: 4 } },
    });
  });

  test('is counted only where it is asked for', async () => {
    counts.length = 0;
    await gateway.query('query ($count: Boolean = false) { backups { nodes { id } totalCount @include(if: $count) } restores { pageInfo { hasNextPage } } jobs { edges { cursor } } hosts { nodes { id } } }');
    expect(counts).toEqual([]);
    await gateway.query('{ backups { totalCount } }');
    expect(counts).toHaveLength(1);
  });
});
