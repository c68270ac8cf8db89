/** A database that is put back to an earlier state under running gateways: a standby that took over without the last changes, or a backup. */
import { createGatewayClient } from 'backup-gateway/client';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { openGatewayDatabase, type TestDatabase } from '../support/database.ts';
import { addBackup, changesInTable, cursorAt, endOfFeed, feedCursor, flip, positionOf, readChange, readUntil, subscriptionTo } from '../support/feed.ts';
import { startFeedParts, type FeedParts } from '../support/feed-parts.ts';
import { startGateway, until, type TestGateway } from '../support/gateway.ts';
import { RawSocket } from '../support/socket.ts';
import { WATCH, type Watched } from '../support/watching.ts';

let gateway: TestGateway;
let database: TestDatabase;
let parts: FeedParts;
const left: (() => unknown)[] = [];
beforeAll(async () => {
  gateway = await startGateway({ env: { FEED_RETENTION_DAYS: 'forever' } });
  database = await openGatewayDatabase(gateway.dataDir);
});
beforeEach(async () => { parts = await startFeedParts(gateway, database); });
afterEach(async () => {
  for (const end of left.splice(0).toReversed()) await end();
  await parts.close();
});
afterAll(async () => {
  await database?.close();
  await gateway?.stop();
});

async function open(): Promise<RawSocket> {
  const socket = await RawSocket.open(parts.client);
  left.push(() => socket.socket.terminate());
  return socket;
}

/** Takes the last six changes away, and their positions, as if they had never been, and makes as many new ones as wanted. @returns the end before */
async function goBack(number: number, changes: number): Promise<number> {
  const end = await endOfFeed(database);
  await database.sql.unsafe(`do $$ begin
    delete from transitions where position > ${end - 6}; perform setval('feed_position', ${end - 6});
    for i in 1..${changes} loop update backups set status = case status when 'SUCCESS' then 'MISSING' else 'SUCCESS' end where id = ${number}; end loop;
  end $$`);
  return end;
}

const errorOf = async (socket: RawSocket, id: string) => {
  for (;;) {
    const { type, payload } = await socket.next(id);
    if (type === 'error') return payload[0].extensions.code;
    if (payload?.errors !== undefined) return payload.errors[0].extensions.code;
    if (type === 'complete') return type;
  }
};
const errors = () => parts.told.filter(({ level }) => level === 50);

// Fewer than were lost, as many, and more: by positions alone the last two are seen by nobody who looks only now and then.
test.each([0, 2, 6, 8])('F23 every stream ends with CURSOR_INVALID where positions go back, also where %i new changes have come by then', async (changes) => {
  const backup = await addBackup(database);
  const after = await feedCursor(gateway);
  const socket = await open();
  socket.start('one', subscriptionTo('BACKUP'), { id: backup.id, after });
  socket.start('all', subscriptionTo('BACKUP'), { after });
  socket.start('quiet', subscriptionTo('RESTORE'));
  await Promise.all(['one', 'all', 'quiet'].map((id) => socket.live(id)));
  await flip(database, backup.number, 10);
  await readUntil(socket, 'all', await endOfFeed(database));
  const lost = await goBack(backup.number, changes);
  expect(await Promise.all(['one', 'all', 'quiet'].map((id) => errorOf(socket, id)))).toEqual(Array.from({ length: 3 }, () => 'CURSOR_INVALID'));
  expect(errors()).toMatchObject([{ msg: expect.stringContaining('put back to an earlier state'), position: lost, end: lost - 6 + changes }]);
  // The socket stays, and who begins anew is told what comes.
  const anew = await feedCursor(gateway);
  expect(positionOf(anew)).toBe(lost - 6 + changes);
  socket.start('again', subscriptionTo('BACKUP'), { after: anew });
  await flip(database, backup.number, 8);
  const end = await endOfFeed(database);
  expect(await readUntil(socket, 'again', end)).toEqual(await changesInTable(database, 'BACKUP', positionOf(anew)));
  expect(end).toBe(positionOf(anew) + 8);
  expect(errors()).toHaveLength(1);
});

test('F23 the client throws CURSOR_INVALID, and watches anew after the list', async () => {
  const backup = await addBackup(database);
  await flip(database, backup.number, 10);
  const client = createGatewayClient({ url: parts.client.url, token: gateway.token });
  left.push(() => client.dispose());
  let caughtUp = 0;
  const next = client.watch<Watched>(WATCH, {}, { onCaughtUp: () => { caughtUp += 1; } }).next();
  next.catch(() => undefined);
  await until('it is caught up', () => caughtUp === 1);
  await goBack(backup.number, 6);
  await expect(next).rejects.toMatchObject({ code: 'CURSOR_INVALID', message: expect.stringContaining('Read the list again') });
  const { feedCursor: after } = await client.query<{ feedCursor: string }>('{ feedCursor }');
  const events = client.watch<Watched>(WATCH, { after });
  await flip(database, backup.number, 1);
  const { value } = await events.next();
  expect(positionOf(value?.cursor ?? '')).toBe(positionOf(after) + 1);
});

test('F24 a new id of the feed refuses all cursors from before, and those that come then serve', async () => {
  const backup = await addBackup(database);
  const before = await feedCursor(parts.client);
  const socket = await open();
  socket.start('watch', subscriptionTo('BACKUP'), { after: before });
  await socket.live('watch');
  await database.sql`update feed set id = gen_random_uuid()`;
  expect(await errorOf(socket, 'watch')).toBe('CURSOR_INVALID');
  for (const position of [positionOf(before), positionOf(before) - 1]) {
    socket.start(`old ${position}`, subscriptionTo('BACKUP'), { after: cursorAt(before, position) });
    expect(await errorOf(socket, `old ${position}`)).toBe('CURSOR_INVALID');
  }
  const anew = (await socket.run('cursor', '{ feedCursor }')).data.feedCursor;
  expect(anew).not.toBe(before);
  socket.start('new', subscriptionTo('BACKUP'), { after: anew });
  await flip(database, backup.number, 1);
  const { cursor, position } = readChange(await socket.next('new'));
  expect(position).toBe(positionOf(anew) + 1);
  socket.start('newer', subscriptionTo('BACKUP'), { after: cursor });
  await flip(database, backup.number, 1);
  expect(readChange(await socket.next('newer')).position).toBe(position + 1);
});

test('changes that somebody dates back are the same changes', async () => {
  const backup = await addBackup(database);
  const socket = await open();
  socket.start('watch', subscriptionTo('BACKUP'), { after: await feedCursor(gateway) });
  await flip(database, backup.number, 5);
  await readUntil(socket, 'watch', await endOfFeed(database));
  await database.sql`update transitions set at = at - interval '40 days'`;
  await flip(database, backup.number, 1);
  expect(readChange(await socket.next('watch'))).toMatchObject({ position: await endOfFeed(database) });
  expect(errors()).toEqual([]);
});

test('F7 a gateway that was away until nothing was kept tells newcomers that they are live, and those who missed something CURSOR_EXPIRED', async () => {
  const backup = await addBackup(database);
  const socket = await open();
  socket.start('before', subscriptionTo('BACKUP'), { after: await feedCursor(gateway) });
  await socket.live('before');
  const floor = await endOfFeed(database) + 10;
  // As another gateway leaves it that has made ten changes, and then removed them.
  await database.sql.begin(async (sql) => {
    await sql`select setval('feed_position', ${floor})`;
    await sql`delete from transitions`;
    await sql`update feed set floor = ${floor}`;
  });
  socket.start('newcomer', subscriptionTo('BACKUP'));
  await socket.live('newcomer');
  expect(await errorOf(socket, 'before')).toBe('CURSOR_EXPIRED');
  expect(parts.feed.position).toBe(floor);
  await flip(database, backup.number, 1);
  expect(readChange(await socket.next('newcomer'))).toMatchObject({ position: floor + 1 });
  expect(errors()).toEqual([]);
});
