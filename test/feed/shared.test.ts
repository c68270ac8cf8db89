import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { parse } from 'graphql';
import { joinOperation, SharedOperation, type Operation } from '../../src/graphql/shared-operation.ts';
import type { TransitionRow } from '../../src/records/rows.ts';
import { openGatewayDatabase, type TestDatabase } from '../support/database.ts';
import { addBackup, changesInTable, endOfFeed, feedCursor, flip, positionOf, readChange, readUntil, subscriptionTo, type Change } from '../support/feed.ts';
import { startGateway, until, type TestGateway } from '../support/gateway.ts';
import { clientsLetGo } from '../support/metrics.ts';
import { RawSocket } from '../support/socket.ts';

let gateway: TestGateway;
let database: TestDatabase;
const statements: string[] = [];
const sockets: RawSocket[] = [];

beforeAll(async () => {
  gateway = await startGateway({ onStatement: (text) => statements.push(text) });
  database = await openGatewayDatabase(gateway.dataDir);
});
afterEach(() => {
  for (const { socket } of sockets.splice(0)) socket.terminate();
});
afterAll(async () => {
  await database?.close();
  await gateway?.stop();
});

async function open(): Promise<RawSocket> {
  const socket = await RawSocket.open(gateway);
  sockets.push(socket);
  return socket;
}
const openMany = (count: number): Promise<RawSocket[]> => Promise.all(Array.from({ length: count }, open));

/** The messages of the protocol that are of no operation, such as pings. */
function pingsOf({ socket }: RawSocket): unknown[] {
  const pings: unknown[] = [];
  socket.on('message', (data: Buffer) => {
    const message = JSON.parse(data.toString());
    if (message.type === 'ping') pings.push(message.payload);
  });
  return pings;
}

describe('F12 what an event says of the record', () => {
  const WITH_RECORD = 'subscription ($id: ID, $after: String) { change: backupStatusChanged(id: $id, after: $after) { cursor to backup { name status description } } }';

  test('is looked up once for all who subscribe to the same, whatever record each watches', async () => {
    const backups = await Promise.all([addBackup(database), addBackup(database), addBackup(database)]);
    const start = await feedCursor(gateway);
    const watching = await openMany(24);
    for (const [index, socket] of watching.entries()) socket.start(`mine-${index}`, WITH_RECORD, { id: index % 4 === 0 ? undefined : backups[index % 3]!.id, after: start });
    await Promise.all(watching.map((socket, index) => socket.live(`mine-${index}`)));
    statements.length = 0;
    await database.sql`update backups set status = 'MISSING' where id in ${database.sql(backups.map(({ number }) => number))}`;
    for (const [index, socket] of watching.entries()) {
      for (let count = index % 4 === 0 ? 3 : 1; count > 0; count -= 1) {
        expect((await socket.next(`mine-${index}`)).payload).toMatchObject({ data: { change: { to: 'MISSING', backup: { status: 'MISSING' } } } });
      }
    }
    expect(statements.filter((text) => /from "backups"/.test(text)).length).toBeLessThanOrEqual(2);
  });

  test('is read after the change, also for who comes back to an old one', async () => {
    const backup = await addBackup(database);
    const start = await feedCursor(gateway);
    const live = await open();
    live.start('watch', WITH_RECORD, { id: backup.id, after: start });
    await flip(database, backup.number, 1);
    expect((await live.next('watch')).payload.data.change.backup).toMatchObject({ status: 'MISSING', description: null });
    await database.sql`update backups set description = 'changed since' where id = ${backup.number}`;
    await until('it tells what is now', async () => {
      const back = await open();
      back.start('watch', WITH_RECORD, { id: backup.id, after: start });
      return (await back.next('watch')).payload.data.change.backup.description === 'changed since';
    }, 2_000);
  });

  test('comes in the order of the changes, although each is looked up', async () => {
    const backup = await addBackup(database);
    const start = await feedCursor(gateway);
    const socket = await open();
    socket.start('watch', WITH_RECORD, { id: backup.id, after: start });
    await flip(database, backup.number, 50, { together: false });
    const got: number[] = [];
    while (got.length < 50) got.push(positionOf((await socket.next('watch')).payload.data.change.cursor));
    expect(got).toEqual((await changesInTable(database, 'BACKUP', positionOf(start))).map(({ position }) => position));
  });
});

describe('operations that differ', () => {
  test('in their fields, names or other variables are answered each as it asks', async () => {
    const backup = await addBackup(database);
    const start = await feedCursor(gateway);
    const socket = await open();
    const documents: Record<string, [string, object]> = {
      fields: ['subscription ($after: String) { change: backupStatusChanged(after: $after) { to } }', { after: start }],
      more: ['subscription ($after: String) { change: backupStatusChanged(after: $after) { from to } }', { after: start }],
      alias: ['subscription ($after: String) { other: backupStatusChanged(after: $after) { to } }', { after: start }],
      with: ['subscription ($after: String, $with: Boolean!) { change: backupStatusChanged(after: $after) { to from @include(if: $with) } }', { after: start, with: true }],
      without: ['subscription ($after: String, $with: Boolean!) { change: backupStatusChanged(after: $after) { to from @include(if: $with) } }', { after: start, with: false }],
      literal: [`subscription { change: backupStatusChanged(after: "${start}", id: "${backup.id}") { to } }`, {}],
      fragment: ['subscription ($after: String) { ...all } fragment all on Subscription { change: backupStatusChanged(after: $after) { to } }', { after: start }],
      directive: ['subscription ($after: String) { change: backupStatusChanged(after: $after) @include(if: true) { to } }', { after: start }],
    };
    for (const [id, [document, variables]] of Object.entries(documents)) socket.start(id, document, variables);
    await flip(database, backup.number, 1);
    const answers: Record<string, unknown> = {};
    for (const id of Object.keys(documents)) answers[id] = (await socket.next(id)).payload;
    const plain = { data: { change: { to: 'MISSING' } } };
    const whole = { data: { change: { from: 'SUCCESS', to: 'MISSING' } } };
    expect(answers).toEqual({ fields: plain, more: whole, alias: { data: { other: { to: 'MISSING' } } }, with: whole, without: plain, literal: plain, fragment: plain, directive: plain });
  });

  test('one that fails in a field says so in each event, and goes on', async () => {
    const backup = await addBackup(database);
    const socket = await open();
    socket.start('watch', 'subscription ($id: ID!, $first: Int) { change: backupStatusChanged(id: $id) { to backup { transitions(first: $first) { nodes { to } } } } }', { id: backup.id, first: -1 });
    expect((await socket.next('watch')).payload).toMatchObject({ errors: [{ path: ['change', 'backup', 'transitions', 'nodes'] }] });
    await flip(database, backup.number, 1);
    expect((await socket.next('watch')).payload).toMatchObject({ errors: [{ path: ['change', 'backup', 'transitions', 'nodes'] }] });
    expect(socket.isOpen).toBe(true);
  });
});

test('what fails while a change is looked up is told masked, and the next change is whole again', async () => {
  const backup = await addBackup(database);
  const socket = await open();
  socket.start('watch', 'subscription ($id: ID) { change: backupStatusChanged(id: $id) { cursor to backup { description } } }', { id: backup.id });
  await socket.next('watch');
  await database.sql`alter table backups rename column description to elsewhere`;
  try {
    await flip(database, backup.number, 1);
    expect((await socket.next('watch')).payload).toEqual({
      data: { change: { cursor: expect.any(String), to: 'MISSING', backup: null } },
      errors: [expect.objectContaining({ message: 'Something went wrong in the gateway; its log says more.', path: ['change', 'backup'] })],
    });
  } finally {
    await database.sql`alter table backups rename column elsewhere to description`;
  }
  await flip(database, backup.number, 1);
  expect((await socket.next('watch')).payload).toEqual({ data: { change: { cursor: expect.any(String), to: 'SUCCESS', backup: { description: null } } } });
});

describe('one operation', () => {
  const document = parse('subscription Watch($id: ID, $after: String, $with: Boolean!) { change: backupStatusChanged(id: $id, after: $after) { to from @include(if: $with) } }');
  const inFragment = parse('subscription ($after: String) { ...F } fragment F on Subscription { change: backupStatusChanged(after: $after) { to } }');
  const join = (tokenId: string, variableValues: Record<string, unknown>, of = document, operationName?: string) => {
    const shared = joinOperation({ document: of, operationName, variableValues, contextValue: { principal: { name: 'same', tokenId } } } as unknown as Operation, () => ({}));
    joined.push(shared);
    return shared;
  };
  const joined: SharedOperation[] = [];
  afterEach(() => joined.splice(0).forEach((shared) => shared.leave()));

  test('is never one for two principals, whatever else is the same', () => {
    const first = join('one', { after: 'a', with: true });
    expect(join('one', { after: 'b', id: '7', with: true })).toBe(first);
    expect(join('two', { after: 'a', with: true })).not.toBe(first);
    const second = joined.at(-1);
    expect(join('two', { with: true, after: 'a' })).toBe(second);
    expect(join('', { after: 'a', with: true })).not.toBe(first);
  });

  test('is another with other variables that its answers depend on, or another name, or once all have left', () => {
    const first = join('one', { with: true });
    expect(join('one', { with: false })).not.toBe(first);
    expect(join('one', { with: true }, document, 'Watch')).not.toBe(first);
    joined.splice(0).forEach((shared) => shared.leave());
    expect(join('one', { with: true })).not.toBe(first);
  });

  test('is one for each subscriber where its root is not plain', () => {
    expect(join('one', { after: 'a' }, inFragment)).not.toBe(join('one', { after: 'a' }, inFragment));
  });
});

describe('F10 that a subscription is live', () => {
  test('is told once, after all that was there and before what comes then', async () => {
    const backup = await addBackup(database);
    const start = await feedCursor(gateway);
    await flip(database, backup.number, 30);
    const socket = await open();
    const all: string[] = [];
    socket.socket.on('message', (data: Buffer) => {
      const message = JSON.parse(data.toString());
      if (message.id === 'watch' || message.payload?.live === 'watch') all.push(message.type);
    });
    socket.start('watch', subscriptionTo('BACKUP'), { id: backup.id, after: start });
    await until('it is live', () => all.includes('ping'));
    await flip(database, backup.number, 2);
    await readUntil(socket, 'watch', await endOfFeed(database));
    expect(all).toEqual([...Array.from({ length: 30 }, () => 'next'), 'ping', 'next', 'next']);
  });

  test('is told of each operation by its own id', async () => {
    const socket = await open();
    const pings = pingsOf(socket);
    for (const kind of ['BACKUP', 'RESTORE', 'JOB'] as const) socket.start(`"${kind}"`, subscriptionTo(kind));
    await until('all are live', () => pings.length === 3);
    expect(new Set(pings.map((payload) => (payload as { live: string }).live))).toEqual(new Set(['"BACKUP"', '"RESTORE"', '"JOB"']));
  });
});

test('F10 the present is stated to a client that has much to read before', async () => {
  const backup = await addBackup(database);
  const start = await feedCursor(gateway);
  const socket = await open();
  const watch = subscriptionTo('BACKUP').replace('{ cursor', `{ ${Array.from({ length: 30 }, (_, nth) => `c${nth}: cursor`).join(' ')} cursor`);
  for (let nth = 0; nth < 20; nth += 1) socket.start(`watch-${nth}`, watch, { id: backup.id, after: start });
  await socket.run('sync', '{ feedCursor }');
  socket.socket.pause();
  await flip(database, backup.number, 1_000);
  const quick = await open();
  quick.start('watch', subscriptionTo('BACKUP'), { after: start });
  await readUntil(quick, 'watch', await endOfFeed(database));
  socket.start('present', subscriptionTo('BACKUP'), { id: backup.id });
  // It is subscribed to once the gateway has answered what another one asked after it, twice.
  for (let count = 0; count < 2; count += 1) await quick.run('sync', '{ feedCursor }');
  socket.socket.resume();
  expect(readChange(await socket.next('present'))).toMatchObject({ from: 'SUCCESS', to: 'SUCCESS' });
  await flip(database, backup.number, 1);
  expect(readChange(await socket.next('present'))).toMatchObject({ from: 'SUCCESS', to: 'MISSING' });
});

test('an execution that throws or rejects is told in its event, and the next ones come', async () => {
  const logged: unknown[] = [];
  const failures: (() => never | Promise<never>)[] = [() => { throw new Error('thrown: a secret'); }, () => Promise.reject(new Error('rejected: a secret'))];
  let nth = 0;
  const operation = { contextValue: { log: { error: (entry: unknown) => logged.push(entry) } } } as unknown as Operation;
  const shared = new SharedOperation(operation, () => failures[nth++]?.() ?? { data: { nth } });
  for (let reader = 0; reader < 2; reader += 1) shared.join();
  const got: string[] = [];
  const rows = [1, 2, 3].map((position) => ({ position }) as TransitionRow);
  for (const row of rows) for (let reader = 0; reader < 2; reader += 1) shared.deliver(row, { next: ({ json }) => { got.push(json.toString()); } });
  await new Promise<void>((resolve) => { shared.afterwards(resolve); });
  const failed = '{"errors":[{"message":"Something went wrong in the gateway; its log says more."}]}';
  expect(got).toEqual([failed, failed, failed, failed, '{"data":{"nth":3}}', '{"data":{"nth":3}}']);
  expect(logged).toHaveLength(2);
});

describe('F16 a client that stops reading', () => {
  test('is closed with 1013, holds up nobody, and has lost nothing when it comes back', async () => {
    const backup = await addBackup(database);
    const start = await feedCursor(gateway);
    const [stuck, reading] = await openMany(2) as [RawSocket, RawSocket];
    // Long messages: what the buffers of both kernels take does not count.
    const watch = subscriptionTo('BACKUP').replace('{ cursor', `{ ${Array.from({ length: 30 }, (_, nth) => `c${nth}: cursor`).join(' ')} cursor`);
    for (const socket of [stuck, reading]) for (let nth = 0; nth < 10; nth += 1) socket.start(`watch-${nth}`, watch, { id: backup.id, after: start });
    await readUntil(stuck, 'watch-0', 0);
    stuck.socket.pause();
    for (let burst = 0; burst < 3; burst += 1) await flip(database, backup.number, 500);
    const end = await endOfFeed(database);
    const expected = await changesInTable(database, 'BACKUP', positionOf(start));
    for (let nth = 0; nth < 10; nth += 1) expect(await readUntil(reading, `watch-${nth}`, end)).toEqual(expected);
    // What lies in the buffers of both kernels comes before the close.
    await new Promise((resolve) => { setTimeout(resolve, 6_500); });
    stuck.socket.resume();
    expect(await stuck.closed).toBe(1013);
    expect(await clientsLetGo(gateway)).toBe(1);
    const got: (Change & { cursor: string })[] = [];
    for (;;) {
      const message = await stuck.next('watch-7').catch(() => null);
      if (message === null) break;
      got.push(readChange(message));
    }
    expect(got.length).toBeLessThan(expected.length);
    const back = await open();
    back.start('watch', subscriptionTo('BACKUP'), { id: backup.id, after: got.at(-1)?.cursor ?? start });
    const rest = await readUntil(back, 'watch', end);
    expect([...got.map(({ cursor: _cursor, ...change }) => change), ...rest]).toEqual(expected);
  });
});
