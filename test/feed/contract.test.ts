/**
 * What docs/FEED.md promises, as far as no test of a topic says it already; and that each of its sentences has a test.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { openGatewayDatabase, type TestDatabase } from '../support/database.ts';
import { readEvents } from '../support/event-stream.ts';
import { addBackup, changesInPages, changesInTable, endOfFeed, feedCursor, flip, positionOf, readChange, readUntil, subscriptionTo, type Change } from '../support/feed.ts';
import { startGateway, startGatewayProcess, type TestGateway } from '../support/gateway.ts';
import { RawSocket } from '../support/socket.ts';

let gateway: TestGateway;
let database: TestDatabase;
const left: (() => unknown)[] = [];

beforeAll(async () => {
  gateway = await startGateway();
  database = await openGatewayDatabase(gateway.dataDir);
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

test('each sentence of FEED.md has a test that bears its number', () => {
  const root = fileURLToPath(new URL('../..', import.meta.url));
  const promised = [...readFileSync(join(root, 'docs/FEED.md'), 'utf8').matchAll(/\*\*(F\d+)\*\*/g)].map(([, number]) => number);
  const titles = readdirSync(join(root, 'test'), { recursive: true }).map(String).filter((name) => name.endsWith('.test.ts'))
    .flatMap((name) => [...readFileSync(join(root, 'test', name), 'utf8').matchAll(/(?:test|describe)(?:\.\w+(?:\([^\n]*?\))?)?\((['"`])(.*?)\1,/g)].map(([, , title]) => title ?? ''));
  const tested = new Set(titles.flatMap((title) => title.match(/\bF\d+\b/g) ?? []));
  expect(promised.length).toBeGreaterThan(15);
  expect(promised.filter((number) => !tested.has(number!))).toEqual([]);
  expect([...tested].filter((number) => !promised.includes(number))).toEqual([]);
});

test('F1 what was rolled back is in no feed, what was committed with it in savepoints is', async () => {
  const [gone, kept] = [await addBackup(database), await addBackup(database)];
  const start = await feedCursor(gateway);
  const socket = await open();
  socket.start('watch', subscriptionTo('BACKUP'), { after: start });
  const session = database.session();
  left.push(() => session.end());
  await session`begin`;
  await session`update backups set status = 'MISSING' where id = ${gone.number}`;
  await session`rollback`;
  await session`begin`;
  await session`savepoint before`;
  await session`update backups set status = 'MISSING' where id = ${gone.number}`;
  await session`rollback to before`;
  await session`update backups set status = 'MISSING' where id = ${kept.number}`;
  await session`commit`;
  expect(readChange(await socket.next('watch'))).toMatchObject({ record: kept.id, from: 'SUCCESS', to: 'MISSING' });
  expect(await changesInTable(database, 'BACKUP', positionOf(start))).toHaveLength(1);
});

test('F3 a thousand changes of the same moment are each delivered once, wherever a client breaks off', async () => {
  const backup = await addBackup(database);
  const start = await feedCursor(gateway);
  await flip(database, backup.number, 1_000);
  await database.sql`update transitions set at = '2026-01-01T00:00:00Z' where position > ${positionOf(start)}`;
  const expected = await changesInTable(database, 'BACKUP', positionOf(start));
  const end = await endOfFeed(database);
  expect(new Set(expected.map(({ at }) => at)).size).toBe(1);
  const got: Change[] = [];
  for (let cursor = start, length = 1; got.length < 1_000; length += 13) {
    const socket = await open();
    socket.start('watch', subscriptionTo('BACKUP'), { after: cursor });
    for (let count = 0; count < length && got.length < 1_000; count += 1) {
      const { cursor: reached, ...change } = readChange(await socket.next('watch'));
      got.push({ ...change, at: '2026-01-01T00:00:00.000Z' });
      cursor = reached;
    }
    socket.socket.terminate();
  }
  expect(got).toEqual(expected);
  expect(got.at(-1)?.position).toBe(end);
  expect(await changesInPages(gateway, 'BACKUP', 100, start)).toEqual(expected);
});

test('F13 a client that polls is told of deleted records too', async () => {
  const backup = await addBackup(database);
  const start = await feedCursor(gateway);
  await database.sql`update backups set status = 'DELETING' where id = ${backup.number}`;
  await database.sql`delete from backups where id = ${backup.number}`;
  const { data } = await gateway.query('query ($after: String) { backupTransitions(after: $after) { nodes { backupName from to backup { id } } } }', { after: start });
  expect(data.backupTransitions.nodes).toEqual([
    { backupName: backup.name, from: 'SUCCESS', to: 'DELETING', backup: null }, { backupName: backup.name, from: 'DELETING', to: null, backup: null },
  ]);
  expect(await changesInPages(gateway, 'BACKUP', 1, start)).toEqual(await changesInTable(database, 'BACKUP', positionOf(start)));
});

describe('F14 Server-Sent Events', () => {
  function eventsAfter(after: string, id?: string): AsyncGenerator<any> {
    const leaving = new AbortController();
    left.push(() => leaving.abort());
    return readEvents(gateway, subscriptionTo('BACKUP'), { after, id }, leaving.signal);
  }

  test('carry the same changes with the same cursors as a socket: each goes on where the other broke off', async () => {
    const backup = await addBackup(database);
    let cursor = await feedCursor(gateway);
    const start = positionOf(cursor);
    const got: Change[] = [];
    for (let round = 0; round < 6; round += 1) {
      await flip(database, backup.number, 7);
      const socket = await open();
      if (round % 2 === 1) socket.start('watch', subscriptionTo('BACKUP'), { after: cursor });
      const events = round % 2 === 0 ? eventsAfter(cursor) : null;
      for (let count = 0; count < 5; count += 1) {
        const { cursor: reached, ...change } = readChange(events === null ? await socket.next('watch') : { id: '', type: 'next', payload: (await events.next()).value });
        got.push(change);
        cursor = reached;
      }
      await events?.return(undefined);
      socket.socket.terminate();
    }
    expect(got).toEqual((await changesInTable(database, 'BACKUP', start)).slice(0, 30));
  });

  test('go on live, and end where nothing can follow', async () => {
    const backup = await addBackup(database);
    const events = eventsAfter(await feedCursor(gateway), backup.id);
    const first = events.next();
    await flip(database, backup.number, 1);
    expect((await first).value.data.change).toMatchObject({ to: 'MISSING' });
    await database.sql`update backups set status = 'DELETING' where id = ${backup.number}`;
    await database.sql`delete from backups where id = ${backup.number}`;
    const rest: unknown[] = [];
    for await (const { data } of events) rest.push(data.change.to);
    expect(rest).toEqual(['DELETING', null]);
  });
});

test('F15 F18 a gateway that is killed or stopped, again and again, loses and repeats nothing for who comes back', async () => {
  let child = await startGatewayProcess();
  const db = await openGatewayDatabase(child.dataDir);
  const backup = await addBackup(db);
  await db.close();
  let cursor = await feedCursor(child);
  const start = positionOf(cursor);
  const got: Change[] = [];
  for (const end of ['SIGKILL', 'SIGTERM', 'SIGKILL'] as const) {
    const sql = await openGatewayDatabase(child.dataDir);
    const socket = await RawSocket.open(child);
    socket.start('watch', subscriptionTo('BACKUP'), { after: cursor });
    const flipping = flip(sql, backup.number, 300, { together: false }).catch(() => undefined);
    for (let count = 0; count < 40; count += 1) {
      const { cursor: reached, ...change } = readChange(await socket.next('watch'));
      got.push(change);
      cursor = reached;
    }
    if (end === 'SIGKILL') await child.kill();
    else child.process.kill(end);
    const code = await socket.closed;
    expect(code).toBe(end === 'SIGKILL' ? 1006 : 1012);
    // What had come before the end counts as delivered.
    for (;;) {
      const message = await socket.next('watch').catch(() => null);
      if (message === null) break;
      const { cursor: reached, ...change } = readChange(message);
      got.push(change);
      cursor = reached;
    }
    await flipping;
    await sql.close().catch(() => undefined);
    if (child.process.exitCode === null && child.process.signalCode === null) await new Promise((resolve) => { child.process.once('exit', resolve); });
    child = await startGatewayProcess({ dataDir: child.dataDir });
  }
  const sql = await openGatewayDatabase(child.dataDir);
  left.push(() => child.stop(), () => sql.close());
  const socket = await open(child);
  socket.start('watch', subscriptionTo('BACKUP'), { after: cursor });
  const end = await endOfFeed(sql);
  if (positionOf(cursor) < end) got.push(...await readUntil(socket, 'watch', end));
  expect(got).toEqual(await changesInTable(sql, 'BACKUP', start));
}, 90_000);
