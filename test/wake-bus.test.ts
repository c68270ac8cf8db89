/**
 * A Redis in place of notifications: what it carries, and what becomes of everybody when it is away.
 */
import { rm } from 'node:fs/promises';
import { createClient } from '@redis/client';
import { sql } from 'drizzle-orm';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { Pool } from '../src/db/client.ts';
import { CHANNELS } from '../src/db/listener.ts';
import { noteProgress } from '../src/records/jobs.ts';
import { copyDatabaseTo } from './support/database-template.ts';
import { openGatewayDatabase, routeTo, type TestDatabase } from './support/database.ts';
import { addBackup, changesInTable, endOfFeed, feedCursor, flip, readChange, subscriptionTo, type Change } from './support/feed.ts';
import { newDataDir, startGateway, until, type TestGateway } from './support/gateway.ts';
import { startGatewayPart, startPart } from './support/processes.ts';
import { findRedis, startRedis, type RedisServer } from './support/redis.ts';
import { RawSocket } from './support/socket.ts';
import { joinBus, type BusMember } from './support/wake-bus.ts';

const program = findRedis();
const KEY = 'k'.repeat(40);

describe.skipIf(program === null)(`a wake-up bus${program === null ? ' (left out: install redis-server)' : ''}`, () => {
  let redis: RedisServer;
  let dataDir: string;
  let database: TestDatabase;
  let one: TestGateway;
  let other: TestGateway;
  let feedId: string;
  /** What Postgres notified. */
  const notified: string[] = [];
  const left: (() => unknown)[] = [];

  beforeAll(async () => {
    redis = await startRedis(program ?? '');
    dataDir = await newDataDir();
    await copyDatabaseTo(dataDir);
    one = await startGateway({ dataDir, env: { WAKE_BUS_URL: redis.url, SECRET_KEY: KEY } });
    other = await startGateway({ dataDir, env: { WAKE_BUS_URL: redis.url, SECRET_KEY: KEY } });
    database = await openGatewayDatabase(dataDir);
    feedId = (await database.sql<{ id: string }[]>`select id from feed`)[0]?.id ?? '';
    const listening = database.session();
    for (const channel of Object.values(CHANNELS)) await listening.listen(channel, (payload) => notified.push(`${channel} ${payload}`));
  });
  afterEach(async () => { for (const end of left.splice(0).toReversed()) await end(); });
  afterAll(async () => {
    await one?.stop();
    await other?.stop();
    await database?.close();
    await redis?.stop();
    if (dataDir !== undefined) await rm(dataDir, { recursive: true, force: true });
  });

  const join = async (max?: number): Promise<BusMember> => {
    const member = await joinBus(database.connection, redis.url, feedId, max);
    left.push(() => member.leave());
    return member;
  };
  const open = async (gateway: TestGateway): Promise<RawSocket> => {
    const socket = await RawSocket.open(gateway);
    left.push(() => socket.socket.terminate());
    return socket;
  };
  /** Waits until all has been notified that was committed before. */
  const notifications = async (): Promise<string[]> => {
    await database.sql`select pg_notify(${CHANNELS.jobs}, 'last')`;
    await until('the last notification has come', () => notified.includes(`${CHANNELS.jobs} last`));
    return notified.splice(0).filter((text) => !text.endsWith(' last'));
  };
  const turn = (db: Pick<Pool, 'execute'>, backup: number) => db.execute(sql`update backups set status = case status when 'SUCCESS' then 'MISSING' else 'SUCCESS' end where id = ${backup}`);

  const CREATE = 'mutation ($name: String!) { createBackup(input: { name: $name, type: CONFIG, configurationId: 1 }) { ... on CreateBackupPayload { backup { id job { id } } } ... on RuleViolations { message } } }';
  /** Makes a backup at one gateway, and reads at a socket how it goes. */
  const backUp = async (gateway: TestGateway, socket: RawSocket, name: string): Promise<string> => {
    const { data } = await gateway.query(CREATE, { name });
    expect(data.createBackup).toHaveProperty('backup.id');
    const { backup } = data.createBackup;
    for (const to of ['INITIALIZING', 'IN_PROGRESS', 'SUCCESS']) expect(readChange(await socket.next('watch'))).toMatchObject({ record: backup.id, to });
    return backup.job.id;
  };

  test('F22 carries what one gateway changes to the other, at once, and Postgres notifies nobody of it', async () => {
    const backup = await addBackup(database);
    const socket = await open(other);
    socket.start('watch', subscriptionTo('BACKUP'), { after: await feedCursor(other) });
    await notifications();
    for (let n = 0; n < 3; n += 1) await backUp(one, socket, `over-the-bus-${n}`);
    const member = await join();
    const began = performance.now();
    for (let n = 0; n < 20; n += 1) {
      if (n % 2 === 0) await turn(member.db, backup.number);
      else await member.db.transaction((transaction) => turn(transaction, backup.number));
      expect(readChange(await socket.next('watch'))).toMatchObject({ record: backup.id });
    }
    // Each was made when the one before had come: looking every second would have taken twenty.
    expect(performance.now() - began).toBeLessThan(8_000);
    expect(await notifications()).toEqual([]);
    // Who changes something without the bus notifies, and everybody listens.
    const beganByHand = performance.now();
    for (let n = 0; n < 6; n += 1) {
      await flip(database, backup.number, 1);
      readChange(await socket.next('watch'));
    }
    expect(performance.now() - beganByHand).toBeLessThan(3_000);
    expect(await notifications()).toHaveLength(6);
  });

  test('carries the progress of jobs, too', async () => {
    const member = await join();
    const [job] = await database.sql<{ id: string }[]>`
      insert into jobs (deployment_id, host_id, job_id, operation, status, initiated_by, lease_until, epoch)
      select d.id, h.id, 'progressing', 'VERIFY', 'SUBMITTED', 'test', now() + interval '15 s', 7 from deployments d, hosts h limit 1 returning id`;
    await database.sql`update jobs set status = 'EXECUTING', time_started = now() where id = ${Number(job?.id)}`;
    const socket = await open(other);
    socket.start('progress', 'subscription ($id: ID!) { jobProgressed(id: $id) { status progress { bytesDone } } }', { id: Number(job?.id) });
    expect((await socket.next('progress')).payload.data.jobProgressed).toEqual({ status: 'EXECUTING', progress: null });
    await notifications();
    const began = performance.now();
    for (let bytesDone = 1; bytesDone <= 10; bytesDone += 1) {
      await noteProgress(member.db, { id: Number(job?.id), epoch: 7 }, { bytesDone, bytesTotal: 10, filesDone: 0, filesTotal: null });
      expect((await socket.next('progress')).payload.data.jobProgressed).toEqual({ status: 'EXECUTING', progress: { bytesDone } });
    }
    expect(performance.now() - began).toBeLessThan(5_000);
    expect(await notifications()).toEqual([]);
    await database.sql`update jobs set status = 'FAILED', time_ended = now() where id = ${Number(job?.id)}`;
  });

  test('wakes a worker that runs apart', async () => {
    const [at, elsewhere] = [await newDataDir(), await newDataDir()];
    await copyDatabaseTo(at);
    const split = await openGatewayDatabase(at);
    const route = await routeTo(split);
    left.push(async () => {
      await route.close();
      await split.close();
      for (const directory of [at, elsewhere]) await rm(directory, { recursive: true, force: true });
    });
    const env = { DATABASE_URL: route.url, WAKE_BUS_URL: redis.url, SECRET_KEY: KEY, ADMIN_TOKEN: 'token-of-the-bus-tests' };
    const [gateway, worker] = await Promise.all([startGatewayPart({ dataDir: at, env }), startPart({ args: ['worker', '--all-hosts'], dataDir: elsewhere, env })]);
    left.push(() => gateway.end('SIGKILL'), () => worker.end('SIGKILL'));
    await until('the worker has found the store', async () => (await gateway.query('{ backupStores { nodes { status } } }')).data.backupStores.nodes.some(({ status }: { status: string }) => status === 'READY'));
    const heard: string[] = [];
    const listening = split.session();
    for (const channel of Object.values(CHANNELS)) await listening.listen(channel, (payload) => heard.push(`${channel} ${payload}`));
    const socket = await open(gateway);
    socket.start('watch', subscriptionTo('BACKUP'), { after: await feedCursor(gateway) });
    let waited = 0;
    for (let n = 0; n < 6; n += 1) {
      const id = await backUp(gateway, socket, `apart-${n}`);
      const { timeSubmitted, timeStarted } = (await gateway.query(`{ job(id: "${id}") { timeSubmitted timeStarted } }`)).data.job;
      waited += Date.parse(timeStarted) - Date.parse(timeSubmitted);
    }
    // Each was asked for when the one before was done: a worker that looks every second would have let them wait for five.
    expect(waited).toBeLessThan(2_500);
    expect(heard).toEqual([]);
    expect(await worker.end()).toBe(0);
  });

  test('F22 may be killed in the middle of many changes: each is pushed once, in order and in time, and once it is back it carries them again', async () => {
    const backups = await Promise.all(Array.from({ length: 6 }, () => addBackup(database)));
    const members = [await join(3), await join(3)];
    const socket = await open(other);
    const after = await endOfFeed(database);
    socket.start('watch', subscriptionTo('BACKUP'), { after: await feedCursor(other) });
    await notifications();
    const changes: Change[] = [];
    let slowest = 0;
    const readTo = async (count: number) => {
      while (changes.length < count) {
        const { cursor: _cursor, ...change } = readChange(await socket.next('watch'));
        slowest = Math.max(slowest, Date.now() - Date.parse(change.at));
        changes.push(change);
      }
    };
    const EACH = 80;
    let made = 0;
    const writing = Promise.all(backups.map(async ({ number }, nth) => {
      const { db } = members[nth % 2] as BusMember;
      for (let n = 0; n < EACH; n += 1) {
        if (n % 2 === 0) await turn(db, number);
        else await db.transaction((transaction) => turn(transaction, number));
        made += 1;
      }
    }));
    const reading = readTo(EACH * backups.length);
    await until('a third of them is made', () => made > 160);
    await redis.kill();
    const madeBefore = made;
    await writing;
    await reading;
    expect(madeBefore).toBeLessThan(400);
    expect(changes).toEqual(await changesInTable(database, 'BACKUP', after));
    expect(slowest).toBeLessThan(2_000);
    // While it was away.
    expect((await notifications()).filter((text) => text.startsWith(CHANNELS.feed)).length).toBeGreaterThan(0);

    await redis.start();
    await until('all are there again', async () => (await subscribers()).get(`backup-gateway:${feedId}`) === 4);
    await until('both know', () => members.every(({ logged }) => logged.length === 2));
    expect(members.map(({ logged }) => logged)).toEqual(members.map(() => [expect.stringContaining('is away'), expect.stringContaining('is back')]));
    // What was told to nobody while it came back is notified.
    await notifications();
    const began = performance.now();
    for (let n = 1; n <= 10; n += 1) {
      await turn((members[n % 2] as BusMember).db, backups[0]?.number ?? 0);
      await readTo(EACH * backups.length + n);
    }
    expect(performance.now() - began).toBeLessThan(5_000);
    expect(await notifications()).toEqual([]);
  });

  /** How many are subscribed to each topic. */
  const subscribers = async (): Promise<Map<string, number>> => {
    const client = await createClient({ url: redis.url }).on('error', () => undefined).connect();
    try {
      return new Map(Object.entries(await client.pubSubNumSub(await client.pubSubChannels())));
    } finally {
      client.destroy();
    }
  };

  test('is told of nothing that was rolled back', async () => {
    const backup = await addBackup(database);
    const [writer, reader] = [await join(), await join()];
    const broken = new Error('on purpose');
    const wake = (on: Pick<Pool, 'execute'>, payload: string, more = sql``) => on.execute(sql`select wake('backup_gateway_jobs', ${payload}) ${more}`);
    const failing = sql`, 1 / (random() * 0)::int`;
    await expect(writer.db.transaction(async (transaction) => {
      await turn(transaction, backup.number);
      await transaction.execute(sql`set constraints all immediate`);
      await wake(transaction, 'rolled back');
      throw broken;
    })).rejects.toBe(broken);
    await expect(writer.db.transaction(async (transaction) => {
      await wake(transaction, 'aborted');
      await wake(transaction, 'failed', failing).catch(() => undefined);
    })).rejects.toMatchObject({ code: 'TRANSACTION_ABORTED' });
    await expect(wake(writer.db, 'failed alone', failing)).rejects.toMatchObject({ cause: { code: '22012' } });
    await writer.db.transaction(async (transaction) => {
      await turn(transaction, backup.number);
      await wake(transaction, 'committed');
      await wake(transaction, 'committed');
    });
    await wake(writer.db, 'last');
    await until('the last one has come', () => reader.told.some(([, payload]) => payload === 'last'));
    const position = await endOfFeed(database);
    expect(reader.told).toEqual([['jobs', 'committed'], ['feed', String(position)], ['jobs', 'last']]);
    // It hears of its own by itself.
    expect(writer.told).toEqual(reader.told);
  });
});
