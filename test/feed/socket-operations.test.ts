/**
 * Operations over a WebSocket that go wrong, that are too many, or whose client has gone: none harms the others, and the log
 * stays what it is.
 */
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { openGatewayDatabase, type TestDatabase } from '../support/database.ts';
import { addBackup, feedCursor, flip, readChange, subscriptionTo } from '../support/feed.ts';
import { startGateway, startGatewayProcess, until, type TestGateway } from '../support/gateway.ts';
import { clientsLetGo, metricsOf } from '../support/metrics.ts';
import { RawSocket } from '../support/socket.ts';

let gateway: TestGateway;
let database: TestDatabase;
const statements: string[] = [];
const left: (() => unknown)[] = [];

beforeAll(async () => {
  gateway = await startGateway({ onStatement: (text) => statements.push(text) });
  database = await openGatewayDatabase(gateway.dataDir);
  const backup = await addBackup(database);
  await flip(database, backup.number, 200);
});
afterEach(async () => {
  for (const end of left.splice(0).reverse()) await end();
});
afterAll(async () => {
  await database?.close();
  await gateway?.stop();
});

async function open(to: TestGateway = gateway): Promise<RawSocket> {
  const socket = await RawSocket.open(to);
  left.push(() => socket.socket.terminate());
  return socket;
}

/** How many pages of changes have been read of the database. */
const pagesRead = () => statements.filter((text) => text.includes('from (values (null::bigint))')).length;
/** Answers of half a megabyte. */
const LONG = `{ backupTransitions(first: 100) { nodes { ${Array.from({ length: 50 }, (_, nth) => `at${nth}: at cursor${nth}: cursor`).join(' ')} } } }`;

describe('F17 an operation', () => {
  test.for([
    ['whose directive has no value yet', 'subscription ($on: Boolean!) { backupStatusChanged @include(if: $on) { cursor } }', { on: true }],
    ['that leaves out all it asks for', 'subscription { backupStatusChanged @skip(if: true) { cursor } }', {}],
    ['of several, none of which is named', 'subscription A { backupStatusChanged { cursor } } subscription B { backupStatusChanged { to } }', {}],
  ] as [string, string, object][])('%s is answered by an error, and the others go on', async ([, query, variables]) => {
    const backup = await addBackup(database);
    const socket = await open();
    socket.start('watch', subscriptionTo('BACKUP'), { id: backup.id });
    await socket.next('watch');
    // More of them than are under way at once: each gives its place back.
    for (let nth = 0; nth < 25; nth += 1) {
      const { errors } = await socket.run(`faulty-${nth}`, query, variables);
      expect(errors).toEqual([expect.objectContaining({ message: expect.any(String) })]);
      expect(JSON.stringify(errors)).not.toMatch(/node_modules|\.ts|not iterable|Cannot read/);
    }
    await flip(database, backup.number, 1);
    expect(readChange(await socket.next('watch'))).toMatchObject({ to: 'MISSING' });
  });
});

describe('close codes', () => {
  const opened = (protocol = 'graphql-transport-ws') => {
    const socket = new WebSocket(`${gateway.url.replace('http', 'ws')}/graphql`, protocol === '' ? [] : protocol);
    left.push(() => socket.terminate());
    return { socket, closed: new Promise<number>((resolve) => { socket.once('close', resolve); }) };
  };
  const init = JSON.stringify({ type: 'connection_init' });
  const subscribe = JSON.stringify({ id: 'same', type: 'subscribe', payload: { query: subscriptionTo('BACKUP') } });

  test.for([
    [4400, 'what is no message', ['text']], [4400, 'what only a server sends', [init, JSON.stringify({ id: 'a', type: 'complete-all' })]],
    [4400, 'an answer', [init, JSON.stringify({ id: 'a', type: 'next', payload: {} })]],
    [4401, 'an operation before the beginning', [subscribe]], [4429, 'a second beginning', [init, init]], [1009, 'too long a message', ['x'.repeat(1024 * 1024 + 1)]],
  ] as [number, string, string[]][])('%i answers %s', async ([code, , messages]) => {
    const { socket, closed } = opened();
    socket.once('open', () => messages.forEach((message) => socket.send(message)));
    expect(await closed).toBe(code);
  });

  test('4409 answers an id that is in use, 4406 another protocol, 4408 silence', async () => {
    const socket = await open();
    for (let nth = 0; nth < 2; nth += 1) socket.socket.send(JSON.stringify({ id: 'same', type: 'subscribe', payload: { query: subscriptionTo('BACKUP') } }));
    const other = new WebSocket(`${gateway.url.replace('http', 'ws')}/graphql`);
    left.push(() => other.terminate());
    const silent = opened();
    expect(await Promise.all([socket.closed, new Promise((resolve) => { other.once('close', resolve); }), silent.closed])).toEqual([4409, 4406, 4408]);
  });
});

describe('F16 a client that stops reading', () => {
  test('and sends queries is closed with 1013, counted, has few of them executed, and finds that no more is read of what it sends', async () => {
    const before = await clientsLetGo(gateway);
    const [socket, sending] = [await open(), await open()];
    for (const each of [socket, sending]) each.socket.pause();
    statements.length = 0;
    for (let nth = 0; nth < 400; nth += 1) socket.start(`query-${nth}`, LONG);
    const padded = `${LONG} # ${'x'.repeat(500_000)}`;
    for (let nth = 0; nth < 100; nth += 1) sending.start(`query-${nth}`, padded);
    let unread = 0;
    await until('both are let go', async () => {
      const { bufferedAmount } = sending.socket;
      const count = await clientsLetGo(gateway);
      if (count === before) unread = bufferedAmount;
      return count === before + 2;
    }, 12_000);
    expect(unread).toBeGreaterThan(10_000_000);
    expect(pagesRead()).toBeGreaterThan(0);
    expect(pagesRead()).toBeLessThan(100);
    for (const each of [socket, sending]) each.socket.resume();
    expect(await Promise.all([socket.closed, sending.closed])).toEqual([1013, 1013]);
  });

  test('is owed one answer to its pings, not all', async () => {
    const socket = await open();
    const pongs: number[] = [];
    socket.socket.on('message', (data: Buffer) => {
      const { type, payload } = JSON.parse(data.toString());
      if (type === 'pong') pongs.push(payload.nth);
    });
    socket.socket.pause();
    for (let nth = 1; nth <= 20_000; nth += 1) socket.socket.send(JSON.stringify({ type: 'ping', payload: { nth, text: 'x'.repeat(1_000) } }));
    await until('all were sent', () => socket.socket.bufferedAmount === 0, 4_000);
    socket.socket.resume();
    await until('the last one is answered', () => pongs.at(-1) === 20_000, 5_000);
    expect(pongs.length).toBeLessThan(18_000);
    expect(pongs).toEqual(pongs.toSorted((a, b) => a - b));
  });
});

describe('many operations at once', () => {
  test('are all answered where they are read', async () => {
    const socket = await open();
    const answers: string[] = [];
    socket.socket.on('message', (data: Buffer) => {
      const { id, type, payload } = JSON.parse(data.toString());
      if (type === 'next') answers.push(`${id} ${JSON.stringify(payload)}`);
    });
    for (let nth = 0; nth < 2_000; nth += 1) socket.start(`query-${nth}`, '{ deployment { isRebalancing } }');
    await until('all are answered', () => answers.length === 2_000);
    expect(new Set(answers)).toEqual(new Set(Array.from({ length: 2_000 }, (_, nth) => `query-${nth} {"data":{"deployment":{"isRebalancing":false}}}`)));
  });

  test('that are completed before their turn are not executed', async () => {
    const socket = await open();
    await feedCursor(gateway);
    statements.length = 0;
    for (let nth = 0; nth < 300; nth += 1) socket.start(`query-${nth}`, '{ backupTransitions(first: 100) { nodes { at cursor } } }');
    for (let nth = 0; nth < 300; nth += 1) socket.complete(`query-${nth}`);
    await socket.run('after', '{ feedCursor }');
    expect(pagesRead()).toBeLessThan(50);
  });
});

test('clients that go away while they are answered leave nothing in the log but JSON, and no error', async () => {
  const child = await startGatewayProcess();
  left.push(() => child.stop());
  const db = await openGatewayDatabase(child.dataDir);
  const backup = await addBackup(db);
  await flip(db, backup.number, 200);
  await db.close();
  for (let round = 0; round < 5; round += 1) {
    const socket = await RawSocket.open(child);
    for (let nth = 0; nth < 10; nth += 1) socket.start(`watch-${nth}`, subscriptionTo('BACKUP'), { id: backup.id });
    for (let nth = 0; nth < 30; nth += 1) socket.start(`query-${nth}`, LONG);
    await socket.next('query-0');
    socket.socket.terminate();
  }
  // One that does not know the protocol.
  const strange = await RawSocket.open(child);
  (strange.socket as unknown as { _socket: { write(bytes: Buffer): void } })._socket.write(Buffer.from('no frame at all'));
  await strange.closed;
  await until('they are gone', async () => new Map(await metricsOf(child)).get('backup_gateway_websockets') === 0);
  await child.stop();
  const lines = child.log().split('\n').filter((line) => line !== '');
  expect(lines.filter((line) => !line.startsWith('{'))).toEqual([]);
  expect(lines.map((line) => JSON.parse(line)).filter(({ level }) => level >= 50)).toEqual([]);
});
