import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { startListener } from '../../src/db/listener.ts';
import type { TransitionRow } from '../../src/records/rows.ts';
import { openGatewayDatabase, routeTo, type TestDatabase } from '../support/database.ts';
import { addBackup, changesInTable, endOfFeed, feedCursor, flip, positionOf, readChange, readUntil, subscriptionTo } from '../support/feed.ts';
import { startFeedParts, type FeedParts } from '../support/feed-parts.ts';
import { startGateway, until, type TestGateway } from '../support/gateway.ts';
import { RawSocket } from '../support/socket.ts';

let gateway: TestGateway;
let database: TestDatabase;
let parts: FeedParts;
/** What a test started, ended after it whatever happened; the newest first. */
const left: (() => unknown)[] = [];

beforeAll(async () => {
  gateway = await startGateway();
  database = await openGatewayDatabase(gateway.dataDir);
  // So few in memory that tests reach the table.
  parts = await startFeedParts(gateway, database, { recent: 100 });
});
afterEach(async () => {
  for (const end of left.splice(0).reverse()) await end();
});
afterAll(async () => {
  await parts?.close();
  await database?.close();
  await gateway?.stop();
});

async function open(to = gateway): Promise<RawSocket> {
  const socket = await RawSocket.open(to);
  left.push(() => socket.socket.terminate());
  return socket;
}

/** A follower that a test pulls by hand. */
function follow(recordId: number | null, after: number): AsyncGenerator<TransitionRow, void> {
  const ending = new AbortController();
  const changes = parts.feed.follow({ kind: 'BACKUP', recordId }, after, ending.signal);
  left.push(async () => {
    ending.abort();
    await changes.return();
  });
  return changes;
}

async function take(changes: AsyncGenerator<TransitionRow, void>, count: number): Promise<number[]> {
  const positions: number[] = [];
  while (positions.length < count) {
    const { done, value } = await changes.next();
    if (done === true) break;
    positions.push(value.position);
  }
  return positions;
}

const positionsAfter = async (after: number): Promise<number[]> => (await changesInTable(database, 'BACKUP', after)).map(({ position }) => position);

describe('a subscriber that is slower than the changes', () => {
  test('gets every change once and in order, however often its queue overflows', async () => {
    const backup = await addBackup(database);
    const start = await endOfFeed(database);
    const slow = follow(backup.number, start);
    const quick = follow(backup.number, start);
    const got: number[] = [];
    for (const [times, pulls] of [[1, 1], [3_000, 40], [700, 900], [2_500, 3_000], [10, 0], [1_001, 1]] as const) {
      await flip(database, backup.number, times);
      // Once the quick one has them, the reader has handed them to both.
      await take(quick, times);
      got.push(...await take(slow, pulls));
    }
    const expected = await positionsAfter(start);
    expect(expected).toHaveLength(7_212);
    got.push(...await take(slow, expected.length - got.length));
    expect(got).toEqual(expected);
    await flip(database, backup.number, 1);
    expect(await take(slow, 1)).toEqual([await endOfFeed(database)]);
  });

  test('gets every change once over a socket that it does not read', async () => {
    const backup = await addBackup(database);
    const start = await feedCursor(gateway);
    const socket = await open();
    socket.start('watch', subscriptionTo('BACKUP'), { id: backup.id, after: start });
    socket.socket.pause();
    for (let burst = 0; burst < 4; burst += 1) await flip(database, backup.number, 1_250);
    socket.socket.resume();
    expect(await readUntil(socket, 'watch', await endOfFeed(database))).toEqual(await changesInTable(database, 'BACKUP', positionOf(start)));
  });

  test('is told CURSOR_EXPIRED when what it has not read yet is no longer kept, and never skips', async () => {
    const backup = await addBackup(database);
    const start = await endOfFeed(database);
    await flip(database, backup.number, 1_500);
    // The reader has come to the end, so that whoever begins at the start reads the table.
    await take(follow(backup.number, start), 1_500);
    const [replaying, live] = [follow(backup.number, start), follow(null, await endOfFeed(database))];
    const pulled = live.next();
    expect(await take(replaying, 10)).toHaveLength(10);
    const floor = start + 1_200;
    await database.sql`update feed set floor = ${floor}`;
    await database.sql`delete from transitions where position <= ${floor}`;
    const rest: number[] = [];
    await expect((async () => { for await (const { position } of replaying) rest.push(position); })()).rejects.toMatchObject({ code: 'CURSOR_EXPIRED' });
    // What it had read before comes, and nothing from beyond the gap.
    expect(rest).toEqual(Array.from({ length: rest.length }, (_, index) => start + 11 + index));
    // Whoever is up to date is not concerned.
    await flip(database, backup.number, 1);
    expect((await pulled).value).toMatchObject({ position: await endOfFeed(database) });
  });
});

test('F17 a stream that has fallen behind what is kept ends with CURSOR_EXPIRED, and the others of its socket go on', async () => {
  const backup = await addBackup(database);
  const start = await feedCursor(gateway);
  const socket = await open(parts.client);
  for (const id of ['one', 'two', 'three']) socket.start(id, subscriptionTo('BACKUP'), { id: backup.id, after: start });
  await socket.run('sync', '{ feedCursor }');
  socket.socket.pause();
  for (let burst = 0; burst < 10; burst += 1) await flip(database, backup.number, 1_000);
  await until('the reader has read them', () => parts.feed.position >= positionOf(start) + 10_000);
  const floor = positionOf(start) + 9_900;
  await database.sql.begin(async (sql) => {
    await sql`update feed set floor = ${floor}`;
    await sql`delete from transitions where position <= ${floor}`;
  });
  socket.socket.resume();
  for (const id of ['one', 'two', 'three']) {
    let last = positionOf(start);
    for (;;) {
      const message = await socket.next(id);
      if (message.type === 'error') {
        expect(message.payload).toMatchObject([{ extensions: { code: 'CURSOR_EXPIRED' } }]);
        break;
      }
      const { position } = readChange(message);
      expect(position).toBe(last + 1);
      last = position;
    }
  }
  socket.start('one', subscriptionTo('BACKUP'), { id: backup.id, after: await feedCursor(gateway) });
  await socket.run('sync', '{ feedCursor }');
  await flip(database, backup.number, 1);
  expect(readChange(await socket.next('one'))).toMatchObject({ position: await endOfFeed(database) });
});

describe('F19 an outage', () => {
  test('of the connection that listens loses nothing in a burst, and changes are timely afterwards', async () => {
    const backup = await addBackup(database);
    const start = await feedCursor(gateway);
    const socket = await open();
    socket.start('watch', subscriptionTo('BACKUP'), { id: backup.id, after: start });
    const burst = flip(database, backup.number, 400, { together: false });
    for (let kill = 0; kill < 3; kill += 1) {
      const killed = await until('somebody listens', async () => (await database.sql`
        select pg_terminate_backend(pid) from pg_stat_activity where query ilike 'listen %' and pid <> pg_backend_pid()`).length > 0);
      expect(killed).toBe(true);
    }
    await burst;
    expect(await readUntil(socket, 'watch', await endOfFeed(database))).toEqual(await changesInTable(database, 'BACKUP', positionOf(start)));
    await until('somebody listens again', async () => (await database.sql`select from pg_stat_activity where query ilike 'listen %' and pid <> pg_backend_pid()`).length >= 2);
    const delays: number[] = [];
    for (let round = 0; round < 5; round += 1) {
      const began = performance.now();
      await flip(database, backup.number, 1);
      readChange(await socket.next('watch'));
      delays.push(performance.now() - began);
    }
    // Without notifications it would be half a second on average.
    expect(delays.toSorted((a, b) => a - b)[2]).toBeLessThan(200);
  });

  test('of Postgres is survived by the streams: they go on, nothing is lost, and changes are timely afterwards', async () => {
    const backup = await addBackup(database);
    const [job] = await database.sql<{ id: string }[]>`
      insert into jobs (deployment_id, host_id, job_id, operation, status, initiated_by, lease_until) select d.id, h.id, 'j' || gen_random_uuid(), 'VERIFY', 'SUBMITTED', 'test', now() + interval '15 s'
      from deployments d, hosts h limit 1 returning id`;
    const start = await feedCursor(gateway);
    const socket = await open();
    socket.start('watch', subscriptionTo('BACKUP'), { id: backup.id, after: start });
    socket.start('progress', 'subscription ($id: ID!) { jobProgressed(id: $id) { status progress { bytesDone } } }', { id: Number(job?.id) });
    expect((await socket.next('progress')).payload.data.jobProgressed).toEqual({ status: 'SUBMITTED', progress: null });
    // One that is in the middle of its replay.
    const past = await endOfFeed(database);
    await flip(database, backup.number, 1_200);
    const replaying = follow(backup.number, past);
    const replayed = await take(replaying, 1);

    for (let kill = 0; kill < 2; kill += 1) {
      await flip(database, backup.number, 3);
      await database.kill();
      await flip(database, backup.number, 1);
    }
    await until('all notifications come again', () => parts.listener.isListening);
    const expected = await changesInTable(database, 'BACKUP', positionOf(start));
    expect(await readUntil(socket, 'watch', await endOfFeed(database))).toEqual(expected);
    const whole = await positionsAfter(past);
    expect([...replayed, ...await take(replaying, whole.length - 1)]).toEqual(whole);

    await until('changes are timely', async () => {
      const began = performance.now();
      await flip(database, backup.number, 1);
      readChange(await socket.next('watch'));
      return performance.now() - began < 100;
    }, 5_000);
    await database.sql`update jobs set bytes_done = 7, bytes_total = 10 where id = ${Number(job?.id)}`;
    expect((await socket.next('progress')).payload.data.jobProgressed).toEqual({ status: 'SUBMITTED', progress: { bytesDone: 7 } });
    await database.sql`update jobs set status = 'FAILED', time_ended = now() where id = ${Number(job?.id)}`;
    expect((await socket.next('progress')).payload.data.jobProgressed.status).toBe('FAILED');
    expect((await socket.next('progress')).type).toBe('complete');
    expect(socket.isOpen).toBe(true);
  });

  test('that nobody tells of, a connection that has fallen silent, is noticed and replaced', async () => {
    const route = await routeTo(database);
    left.push(() => route.close());
    const listener = await startListener(route.url);
    left.push(() => listener.close());
    let heard: (payload: string | null) => void = () => undefined;
    left.push(listener.on('jobs', (payload) => heard(payload)));
    const next = () => new Promise<string | null>((resolve) => { heard = resolve; });
    const first = next();
    await database.sql`select pg_notify('backup_gateway_jobs', 'before')`;
    expect(await first).toBe('before');
    const again = next();
    route.freeze();
    // With null: something may have been missed.
    expect(await again).toBeNull();
    const last = next();
    await database.sql`select pg_notify('backup_gateway_jobs', 'after')`;
    expect(await last).toBe('after');
    await until('all channels are listened to', () => listener.isListening);
  });
});

describe('nothing is left behind', () => {
  const nobodyFollows = () => until('nobody follows', () => parts.feed.followers === 0);
  const followers = (count: number) => until(`${count} follow`, () => parts.feed.followers === count);

  test('by a subscription that its client completes, or whose socket goes away', async () => {
    await nobodyFollows();
    const backup = await addBackup(database);
    for (const leave of ['complete', 'close', 'terminate'] as const) {
      const socket = await open(parts.client);
      socket.start('all', subscriptionTo('BACKUP'));
      socket.start('one', subscriptionTo('BACKUP'), { id: backup.id });
      socket.start('replay', subscriptionTo('JOB'), { after: await feedCursor(gateway) });
      await socket.next('one');
      await followers(3);
      if (leave === 'complete') for (const id of ['all', 'one', 'replay']) socket.complete(id);
      else socket.socket[leave]();
      await nobodyFollows();
    }
  });

  test('by one that is completed before it has begun', async () => {
    const socket = await open(parts.client);
    for (let count = 0; count < 30; count += 1) {
      socket.start(`brief-${count}`, subscriptionTo('BACKUP'));
      socket.complete(`brief-${count}`);
    }
    expect((await socket.run('sync', '{ feedCursor }')).data).toBeDefined();
    await nobodyFollows();
  });

  test('by one that reaches its end, or fails', async () => {
    const socket = await open(parts.client);
    const backup = await addBackup(database);
    socket.start('watch', subscriptionTo('BACKUP'), { id: backup.id });
    await socket.next('watch');
    await followers(1);
    await database.sql`update backups set status = 'DELETING' where id = ${backup.number}`;
    await database.sql`delete from backups where id = ${backup.number}`;
    await nobodyFollows();
    expect(await socket.run('fails', subscriptionTo('BACKUP'), { after: 'strange' })).toMatchObject({ errors: [{ extensions: { code: 'CURSOR_INVALID' } }] });
    expect(parts.feed.followers).toBe(0);
  });

  test('by Server-Sent Events whose reader goes away', async () => {
    const leaving = new AbortController();
    await fetch(`${parts.client.url}/graphql`, {
      method: 'POST', signal: leaving.signal, headers: { authorization: `Bearer ${gateway.token}`, accept: 'text/event-stream', 'content-type': 'application/json' },
      body: JSON.stringify({ query: subscriptionTo('BACKUP') }),
    });
    await followers(1);
    leaving.abort();
    await nobodyFollows();
  });
});
