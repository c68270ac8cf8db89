import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { Writable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { pino } from 'pino';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { openDatabase, type Pool } from '../../src/db/client.ts';
import { CautiousClock, startFeedRetention, type RetentionPace } from '../../src/feed/retention.ts';
import { removeOldestTransitions } from '../../src/records/transition-retention.ts';
import { openGatewayDatabase, type TestDatabase } from '../support/database.ts';
import { addBackup, changesInPages, changesInTable, cursorAt, endOfFeed, feedCursor, flip, positionOf, readChange, readUntil, subscriptionTo } from '../support/feed.ts';
import { startGateway, until, type TestGateway } from '../support/gateway.ts';
import { RawSocket } from '../support/socket.ts';

const DAYS = 30;
const QUICK: RetentionPace = { first: 0, interval: 20, batch: 50, pause: 1 };
const CHILD = fileURLToPath(new URL('../support/retention-child.ts', import.meta.url));

let gateway: TestGateway;
let database: TestDatabase;
const left: (() => unknown)[] = [];
beforeAll(async () => {
  gateway = await startGateway({ env: { FEED_RETENTION_DAYS: 'forever' } });
  database = await openGatewayDatabase(gateway.dataDir);
});
afterEach(async () => { for (const end of left.splice(0).toReversed()) await end(); });
afterAll(async () => {
  await database?.close();
  await gateway?.stop();
});

/** A pool, as each gateway has its own. */
function pool(onStatement?: (text: string) => void): Pool {
  const { db, close } = openDatabase(database.connection, { onStatement });
  left.push(close);
  return db;
}

/** What a retention has to tell. */
interface Told { level: number; removed?: number; floor?: number }

/** Starts one, as a gateway does. */
function startRetention(days: number | null = DAYS, pace: Partial<RetentionPace> = {}): { told: Told[]; statements: string[]; stop(): void } {
  const told: Told[] = [];
  const statements: string[] = [];
  const log = pino(new Writable({ write(line, _encoding, done) { told.push(JSON.parse(String(line))); done(); } }));
  const retention = startFeedRetention(pool((text) => statements.push(text)), log, days, { ...QUICK, ...pace });
  left.push(() => retention.stop());
  return { told, statements, stop: () => retention.stop() };
}

/** Dates the changes up to a position back, as if nothing had been removed for as long. */
const age = (upTo: number, days = DAYS + 1) => database.sql`update transitions set at = at - make_interval(days => ${days}) where position <= ${upTo}`;
const floor = async (): Promise<number> => Number((await database.sql<{ floor: string }[]>`select floor from feed`)[0]?.floor);
const raisedTo = (position: number) => until(`nothing is kept up to ${position}`, async () => await floor() >= position, 10_000);
const positions = async (): Promise<number[]> => (await database.sql<{ position: string }[]>`select position from transitions order by position`).map(({ position }) => Number(position));
/** Changes of a backup of its own, as many as wanted; their end. */
const makeChanges = async (count: number): Promise<number> => {
  const backup = await addBackup(database);
  await flip(database, backup.number, count - 1);
  return endOfFeed(database);
};
const daysAgo = (days: number) => new Date(Date.now() - days * 24 * 60 * 60_000);

async function watch(after: string): Promise<RawSocket> {
  const socket = await RawSocket.open(gateway);
  left.push(() => socket.socket.terminate());
  socket.start('watch', subscriptionTo('BACKUP'), { after });
  return socket;
}

describe('F8 changes', () => {
  test('go when they are older than the retention, those of deleted records too; younger ones stay', async () => {
    const gone = await addBackup(database);
    await flip(database, gone.number, 61);
    await database.sql`update backups set status = 'DELETING' where id = ${gone.number}`;
    await database.sql`delete from backups where id = ${gone.number}`;
    const middle = await endOfFeed(database);
    const recent = await addBackup(database);
    await flip(database, recent.number, 61);
    await database.sql`update backups set status = 'DELETING' where id = ${recent.number}`;
    await database.sql`delete from backups where id = ${recent.number}`;
    await age(await endOfFeed(database), DAYS - 1);
    await age(middle, 2);
    const young = (await positions()).filter((position) => position > middle);
    expect(young.length).toBeGreaterThan(60);
    const { told } = startRetention();
    await raisedTo(middle);
    expect(await positions()).toEqual(young);
    expect(await floor()).toBe(middle);
    expect((await changesInPages(gateway, 'BACKUP', 100)).map(({ position }) => position)).toEqual(young);
    await until('it has told of it', () => told.some(({ floor: raised }) => raised === middle));
  });

  test('go with all that came before them, never before: one that is dated back waits', async () => {
    const end = await makeChanges(10);
    await database.sql`update transitions set at = at - interval '300 days' where position > ${end - 3}`;
    const before = await positions();
    expect(await pool().transaction((transaction) => removeOldestTransitions(transaction, daysAgo(DAYS), 1_000))).toMatchObject({ removed: 0 });
    expect(await positions()).toEqual(before);
    await age(end - 3);
    expect(await pool().transaction((transaction) => removeOldestTransitions(transaction, daysAgo(DAYS), 1_000))).toEqual({ removed: before.length, floor: end });
  });

  test('stay for ever where that is wanted, and as long as the days that are set', async () => {
    const end = await makeChanges(5);
    await age(end, 400);
    const all = await positions();
    const [forever, longer] = [startRetention(null), startRetention(500)];
    await until('it has looked more than once', () => longer.statements.length > 10);
    expect(await positions()).toEqual(all);
    startRetention(399);
    await raisedTo(end);
    expect(forever.statements).toEqual([]);
    expect(longer.told).toEqual([]);
  });
});

describe('F7 cursors', () => {
  test('from before the floor are CURSOR_EXPIRED, in lists and streams; at the floor they serve', async () => {
    const start = await endOfFeed(database);
    const end = await makeChanges(20);
    const middle = end - 10;
    await age(middle);
    startRetention();
    await raisedTo(middle);
    const present = await feedCursor(gateway);
    const list = (after: string) => gateway.query('query ($after: String) { backupTransitions(after: $after, first: 100) { totalCount: __typename nodes { cursor } } }', { after });
    for (const position of [start, middle - 1]) {
      expect((await list(cursorAt(present, position))).errors?.[0]?.extensions?.code).toBe('CURSOR_EXPIRED');
      const refused = await (await watch(cursorAt(present, position))).next('watch');
      expect(JSON.stringify(refused.payload)).toContain('CURSOR_EXPIRED');
    }
    const kept = await changesInTable(database, 'BACKUP');
    expect(kept).toHaveLength(10);
    expect((await list(cursorAt(present, middle))).data.backupTransitions.nodes).toHaveLength(10);
    expect(await readUntil(await watch(cursorAt(present, middle)), 'watch', end)).toEqual(kept);
  });

  test('of the end serve although nothing is kept any more, and what comes next comes after them', async () => {
    const end = await makeChanges(20);
    const present = await feedCursor(gateway);
    expect(positionOf(present)).toBe(end);
    await age(end);
    startRetention();
    await raisedTo(end);
    expect(await positions()).toEqual([]);
    expect(await feedCursor(gateway)).toBe(present);
    const refused = await (await watch(cursorAt(present, end - 1))).next('watch');
    expect(JSON.stringify(refused.payload)).toContain('CURSOR_EXPIRED');
    const ahead = await (await watch(cursorAt(present, end + 1))).next('watch');
    expect(JSON.stringify(ahead.payload)).toContain('CURSOR_INVALID');
    const socket = await watch(present);
    const later = await makeChanges(1);
    expect(later).toBe(end + 1);
    expect(readChange(await socket.next('watch'))).toMatchObject({ position: later });
  });

  test('of streams under way stay good while what is behind them goes', async () => {
    const begin = await feedCursor(gateway);
    const socket = await watch(begin);
    const end = await makeChanges(300);
    const expected = await changesInTable(database, 'BACKUP', positionOf(begin));
    expect(await readUntil(socket, 'watch', end)).toEqual(expected);
    await age(end);
    startRetention();
    await raisedTo(end);
    const later = await makeChanges(3);
    expect((await readUntil(socket, 'watch', later)).map(({ position }) => position)).toEqual([later - 2, later - 1, later]);
  });
});

describe('F8 a removal that is under way', () => {
  test('holds up nobody who writes, and readers see all of it or nothing', async () => {
    const backup = await addBackup(database);
    await flip(database, backup.number, 8);
    const end = await endOfFeed(database);
    await age(end);
    const [before, oldFloor] = [await positions(), await floor()];
    const removed = Promise.withResolvers<void>();
    const release = Promise.withResolvers<void>();
    const removal = pool().transaction(async (transaction) => {
      const batch = await removeOldestTransitions(transaction, daysAgo(DAYS), 1_000);
      removed.resolve();
      await release.promise;
      return batch;
    });
    await removed.promise;
    const writer = database.session();
    await writer`set lock_timeout = '200ms'`;
    await writer`set statement_timeout = '2s'`;
    const socket = await watch(await feedCursor(gateway));
    await writer`update backups set status = 'MISSING' where id = ${backup.number}`;
    await writer`insert into backups (deployment_id, store_id, name, type, status, version, initiated_by, directory, groups)
      select deployment_id, store_id, 'meanwhile', type, 'SUCCESS', version, initiated_by, 'meanwhile', groups from backups where id = ${backup.number}`;
    expect(readChange(await socket.next('watch'))).toMatchObject({ record: backup.id, to: 'MISSING' });
    const created = await gateway.query('mutation { createBackup(input: { name: "while-it-is-held", type: CONFIG, configurationId: 1 }) { ... on CreateBackupPayload { backup { id } } } }');
    const { id } = created.data.createBackup.backup;
    // To its end, so that it makes no changes later on.
    await until('that has come to its end', async () => (await gateway.query('query ($id: ID!) { backup(id: $id) { status } }', { id })).data.backup.status === 'SUCCESS');
    expect(await floor()).toBe(oldFloor);
    expect((await positions()).slice(0, before.length)).toEqual(before);
    // Another gateway's finds that somebody is at it, and does not wait.
    expect(await pool().transaction((transaction) => removeOldestTransitions(transaction, daysAgo(DAYS), 1_000))).toBeNull();
    release.resolve();
    expect(await removal).toEqual({ removed: before.length, floor: end });
    expect((await positions())[0]).toBe(end + 1);
  });

  test('is done once by several gateways together', async () => {
    const end = await makeChanges(1_000);
    await age(end);
    const before = (await positions()).filter((position) => position <= end).length;
    const all = [1, 2, 3].map(() => startRetention(DAYS, { batch: 20 }));
    await raisedTo(end);
    const removed = () => all.flatMap(({ told }) => told).reduce((sum, { removed: count = 0 }) => sum + count, 0);
    await until('each has told what it did', () => removed() >= before);
    expect(removed()).toBe(before);
    expect((await positions()).filter((position) => position <= end)).toEqual([]);
  });

  test('can be killed at any moment: what is left is whole, and the next one goes on', async () => {
    const start = await floor();
    const end = await makeChanges(1_500);
    await age(end);
    const all = await positions();
    let kills = 0;
    for (let last = start; ;) {
      const child = spawn(process.execPath, [CHILD, JSON.stringify(database.connection), String(DAYS), JSON.stringify({ ...QUICK, batch: 20 })], { stdio: ['ignore', 'pipe', 'inherit'] });
      await once(child.stdout, 'data');
      const target = Math.min(last + 400 + kills * 37, end);
      await raisedTo(target);
      const exited = once(child, 'exit');
      child.kill('SIGKILL');
      await exited;
      kills += 1;
      // The server may still be at what the killed one sent last.
      await until('its session has ended', async () => (await database.sql`select from pg_locks where locktype = 'advisory' and objid = 7310006`).length === 0);
      last = await floor();
      expect(await positions()).toEqual(all.filter((position) => position > last));
      if (last >= end) break;
    }
    expect(kills).toBeGreaterThan(3);
  });

  test('ends where its gateway stops, and outlasts an outage of the database', async () => {
    const end = await makeChanges(400);
    await age(end);
    const whole = (await positions()).length;
    const stopped = startRetention(DAYS, { batch: 5 });
    await until('it has begun', async () => (await positions()).length < whole);
    stopped.stop();
    const said = stopped.statements.length;
    const { told } = startRetention(DAYS, { batch: 5, pause: 20 });
    await until('it is at it', async () => (await positions()).length < whole - 20);
    await database.kill();
    expect(await floor()).toBeLessThan(end);
    await raisedTo(end);
    expect(told.filter(({ level }) => level === 40).length).toBeLessThanOrEqual(1);
    // But for the batch that was under way.
    expect(stopped.statements.length).toBeLessThanOrEqual(said + 3);
    expect(stopped.told).toEqual([]);
  });
});

test('a gateway does it by itself', async () => {
  const end = await makeChanges(10);
  await age(end, 8);
  const other = await startGateway({ dataDir: gateway.dataDir, env: { FEED_RETENTION_DAYS: '7' } });
  left.push(() => other.stop());
  await until('the old ones have gone', async () => await floor() >= end, 20_000);
});

describe('the clock of the database', () => {
  const HOUR = 60 * 60_000;
  const DAY = 24 * HOUR;

  test('is followed while it goes, set back or not', () => {
    const clock = new CautiousClock();
    expect(clock.read(100 * DAY, 0)).toBe(100 * DAY);
    expect(clock.read(100 * DAY + HOUR, HOUR)).toBe(100 * DAY + HOUR);
    expect(clock.read(90 * DAY, 2 * HOUR)).toBe(90 * DAY);
    expect(clock.read(90 * DAY + HOUR, 3 * HOUR)).toBe(90 * DAY + HOUR);
    expect(clock.isAhead).toBe(false);
  });

  test('is not believed when it jumps ahead, until that has lasted for a day', () => {
    const clock = new CautiousClock();
    clock.read(0, 0);
    for (let hour = 1; hour <= 24; hour += 1) {
      expect(clock.read(400 * DAY + hour * HOUR, hour * HOUR)).toBe(hour * HOUR);
      expect(clock.isAhead).toBe(true);
    }
    expect(clock.read(400 * DAY + 25 * HOUR, 25 * HOUR)).toBe(400 * DAY + 25 * HOUR);
    expect(clock.isAhead).toBe(false);
  });

  test('loses what it had of that day when it is put right meanwhile', () => {
    const clock = new CautiousClock();
    clock.read(0, 0);
    clock.read(400 * DAY, 20 * HOUR);
    expect(clock.read(23 * HOUR, 23 * HOUR)).toBe(23 * HOUR);
    expect(clock.read(400 * DAY, 30 * HOUR)).toBe(30 * HOUR);
  });
});
