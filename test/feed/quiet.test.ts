/** Streams to which nothing comes for long: how far the feed has come is told to them all the same. */
import { createGatewayClient, type GatewayClient } from 'backup-gateway/client';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { openGatewayDatabase, type TestDatabase } from '../support/database.ts';
import { addBackup, changesInTable, cursorAt, endOfFeed, feedCursor, flip, positionOf, readChange, readUntil, subscriptionTo } from '../support/feed.ts';
import { startFeedParts, type FeedParts } from '../support/feed-parts.ts';
import { startGateway, until, type TestGateway } from '../support/gateway.ts';
import { RawSocket } from '../support/socket.ts';
import { changeOf, WATCH, type Event, type Watched } from '../support/watching.ts';
import { startWay, type Way } from '../support/way.ts';

let gateway: TestGateway;
let database: TestDatabase;
let parts: FeedParts;
const left: (() => unknown)[] = [];
beforeAll(async () => {
  gateway = await startGateway({ env: { FEED_RETENTION_DAYS: 'forever' } });
  database = await openGatewayDatabase(gateway.dataDir);
  parts = await startFeedParts(gateway, database, { recent: 10, reminding: 300 });
});
afterEach(async () => { for (const end of left.splice(0).toReversed()) await end(); });
afterAll(async () => {
  await parts?.close();
  await database?.close();
  await gateway?.stop();
});

/** A socket, and the positions that its pings bring for each operation. */
async function open(): Promise<{ socket: RawSocket; told: (id: string) => number[] }> {
  const socket = await RawSocket.open(parts.client);
  left.push(() => socket.socket.terminate());
  const pings: { live: string; cursor: string }[] = [];
  socket.socket.on('message', (data: Buffer) => {
    const { type, payload } = JSON.parse(data.toString());
    if (type === 'ping' && payload?.live !== undefined) pings.push(payload);
  });
  return { socket, told: (id) => pings.filter(({ live }) => live === id).map(({ cursor }) => positionOf(cursor)) };
}

async function newClient(): Promise<{ client: GatewayClient; way: Way }> {
  const way = await startWay(parts.client.url);
  left.push(() => way.close());
  const client = createGatewayClient({ url: way.url, token: gateway.token });
  left.push(() => client.dispose());
  return { client, way };
}

const prune = (floor: number) => database.sql.begin(async (sql) => {
  await sql`update feed set floor = ${floor}`;
  await sql`delete from transitions where position <= ${floor}`;
});

describe('F10 the ping that says live', () => {
  test('carries the cursor up to which everything was delivered, from which a stream without any event goes on', async () => {
    const backup = await addBackup(database);
    const start = await feedCursor(gateway);
    const { socket, told } = await open();
    socket.start('none', subscriptionTo('RESTORE'));
    socket.start('some', subscriptionTo('BACKUP'), { after: cursorAt(start, positionOf(start) - 1) });
    await Promise.all(['none', 'some'].map((id) => socket.live(id)));
    expect([told('none')[0], told('some')[0]]).toEqual([positionOf(start), positionOf(start)]);
    socket.socket.terminate();
    await flip(database, backup.number, 2);
    const { socket: back } = await open();
    back.start('some', subscriptionTo('BACKUP'), { after: cursorAt(start, told('none')[0] ?? 0) });
    expect(await readUntil(back, 'some', await endOfFeed(database))).toEqual(await changesInTable(database, 'BACKUP', positionOf(start)));
  });

  test('is never behind the cursor that the stream began after, although the reader may be', () => {
    const ahead = parts.feed.position + 5;
    const told: number[] = [];
    const following = parts.feed.attach({ kind: 'BACKUP', recordId: null }, ahead, { take: () => true, live: (position) => { told.push(position); }, fail: () => undefined }, ahead - 5);
    following.stop();
    expect(told).toEqual([ahead]);
  });

  test('comes again with a later cursor to streams that nothing was sent to, and to no others', async () => {
    const [quiet, busy] = [await addBackup(database), await addBackup(database)];
    const start = await feedCursor(gateway);
    const { socket, told } = await open();
    socket.start('quiet', subscriptionTo('BACKUP'), { id: quiet.id, after: start });
    socket.start('jobs', subscriptionTo('JOB'), { after: start });
    socket.start('busy', subscriptionTo('BACKUP'), { after: start });
    await Promise.all(['quiet', 'jobs', 'busy'].map((id) => socket.live(id)));
    for (let round = 0; round < 3; round += 1) {
      await flip(database, busy.number, 2);
      const end = await endOfFeed(database);
      expect((await readUntil(socket, 'busy', end)).length).toBe(2);
      await until('the quiet ones are told', () => ['quiet', 'jobs'].every((id) => told(id).at(-1) === end));
    }
    // What was told stands once: where the feed does not move, nothing is said.
    const all = ['quiet', 'jobs'].map(told);
    for (const positions of all) expect(positions).toEqual([...new Set(positions)].toSorted((a, b) => a - b));
    expect(told('busy')).toEqual([positionOf(start)]);
    // Live all the same.
    await flip(database, quiet.number, 1);
    expect(readChange(await socket.next('quiet'))).toMatchObject({ record: quiet.id, to: 'MISSING' });
  });
});

describe('F18 a watch of the client', () => {
  test('without a cursor loses nothing when its connection is lost before the first event', async () => {
    const { client, way } = await newClient();
    const backup = await addBackup(database);
    const start = await endOfFeed(database);
    const events: Event[] = [];
    let caughtUp = 0;
    const watching = (async () => {
      for await (const event of client.watch<Watched>(WATCH, {}, { onCaughtUp: () => { caughtUp += 1; } })) events.push(event);
    })();
    for (let round = 1; round <= 3; round += 1) {
      await until('it is caught up', () => caughtUp === round);
      way.cut();
      await flip(database, backup.number, 2);
    }
    await until('it is caught up again', () => caughtUp === 4);
    expect(events.map(changeOf)).toEqual(await changesInTable(database, 'BACKUP', start));
    client.dispose();
    await watching;
  });

  test('of a quiet record goes on after a lost connection, although the cursor that it began after is no longer kept', async () => {
    const { client, way } = await newClient();
    const [quiet, busy] = [await addBackup(database), await addBackup(database)];
    const after = await feedCursor(gateway);
    const events: Event[] = [];
    let caughtUp = 0;
    const watching = (async () => {
      for await (const event of client.watch<Watched>(WATCH, { id: quiet.id, after }, { onCaughtUp: () => { caughtUp += 1; } })) events.push(event);
    })();
    await until('it is caught up', () => caughtUp === 1);
    const { socket, told } = await open();
    socket.start('beside', subscriptionTo('BACKUP'), { id: quiet.id, after });
    await socket.live('beside');
    const ends: number[] = [];
    // Between two that one stream is told, each other one is told, too.
    for (let round = 0; round < 3; round += 1) {
      await flip(database, busy.number, 20);
      ends.push(await endOfFeed(database));
      await until('the one beside is told', () => (told('beside').at(-1) ?? 0) >= ends.at(-1)!);
    }
    await prune(ends[0] ?? 0);
    way.cut();
    await until('it is caught up again', () => caughtUp === 2);
    await flip(database, quiet.number, 2);
    await until('its changes have come', () => events.length === 2);
    expect(events.map(({ to }) => to)).toEqual(['MISSING', 'SUCCESS']);
    expect(caughtUp).toBe(2);
    client.dispose();
    await watching;
  });
});
