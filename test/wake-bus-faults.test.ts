/**
 * The wake-up bus by itself: who hears what, and what becomes of one that cannot be used.
 */
import { rm } from 'node:fs/promises';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { createServer as createWebServer } from 'node:http';
import { inspect } from 'node:util';
import { createClient } from '@redis/client';
import { sql } from 'drizzle-orm';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Connection } from '../src/db/client.ts';
import { CHANNELS } from '../src/db/listener.ts';
import { migrate } from '../src/db/migrate.ts';
import { startCuttableDatabase } from './support/cuttable.ts';
import { copyDatabaseTo } from './support/database-template.ts';
import { openGatewayDatabase, type TestDatabase } from './support/database.ts';
import { newDataDir, startGateway, until } from './support/gateway.ts';
import { findRedis, startRedis, type RedisServer } from './support/redis.ts';
import { joinBus, type BusMember } from './support/wake-bus.ts';

const program = findRedis();

describe.skipIf(program === null)(`a wake-up bus${program === null ? ' (left out: install redis-server)' : ''}`, { concurrent: true }, () => {
  let redis: RedisServer;
  let dataDir: string;
  let database: TestDatabase;
  const left: (() => unknown)[] = [];

  beforeAll(async () => {
    redis = await startRedis(program ?? '');
    dataDir = await newDataDir();
    await copyDatabaseTo(dataDir);
    database = await openGatewayDatabase(dataDir);
    await migrate(database.connection);
  });
  afterAll(async () => {
    for (const end of left.splice(0).toReversed()) await end();
    await database?.close();
    await redis?.stop();
    if (dataDir !== undefined) await rm(dataDir, { recursive: true, force: true });
  });

  const join = async (id: string, url = redis.url, connection: Connection = database.connection): Promise<BusMember> => {
    const member = await joinBus(connection, url, id, 1);
    left.push(() => member.leave());
    return member;
  };
  const wake = (member: BusMember, payload: string) => member.db.execute(sql`select wake('backup_gateway_jobs', ${payload})`);
  /** Listens on a free port. */
  const serve = async (server: { listen(port: number, host: string, done: () => void): unknown; address(): unknown; close(): unknown }): Promise<number> => {
    await new Promise<void>((resolve) => { server.listen(0, '127.0.0.1', resolve); });
    left.push(() => server.close());
    return (server.address() as AddressInfo).port;
  };

  test('of one installation wakes no other that uses the same Redis', async () => {
    const [writer, stranger, friend] = [await join('one'), await join('another'), await join('one')];
    await wake(writer, '1');
    await until('its friend has heard', () => friend.told.length > 0);
    await wake(stranger, '2');
    await until('the stranger has heard itself', () => stranger.told.length > 0);
    expect([writer.told, friend.told, stranger.told]).toEqual([[['jobs', '1']], [['jobs', '1']], [['jobs', '2']]]);
  });

  test('is told of a transaction of which nobody knows whether it was committed', async () => {
    const route = await startCuttableDatabase(dataDir);
    left.push(() => route.stop());
    const [writer, reader] = [await join('unsure', redis.url, route.url), await join('unsure')];
    // The server has committed, and its answer does not arrive.
    route.inspect((from, data) => (from === 'server' && data.includes('COMMIT') ? 'cut' : undefined));
    await expect(writer.db.transaction((transaction) => transaction.execute(sql`select wake('backup_gateway_jobs', 'unsure')`))).rejects.toMatchObject({ code: 'CONNECTION_LOST' });
    await until('it has come', () => reader.told.length > 0);
    expect(reader.told).toEqual([['jobs', 'unsure']]);
  });

  test('says something of a later version: everybody looks', async () => {
    const reader = await join('later');
    const client = await createClient({ url: redis.url }).on('error', () => undefined).connect();
    left.push(() => client.destroy());
    for (const text of ['', '{"from":"x"}', '{"from":"x","wakes":[{"channel":"backup_gateway_later","payload":"1"}]}']) await client.publish('backup-gateway:later', text);
    await until('it has come', () => reader.told.length === 8);
    expect(reader.told).toEqual(Array(2).fill(['feed', 'jobs', 'progress', 'schedules'].map((channel) => [channel, null])).flat());
  });

  test('that falls silent is noticed and replaced, and done without meanwhile', async () => {
    const sockets = new Set<Socket>();
    let isSilent = false;
    const port = await serve(createServer((outer) => {
      const inner = connect(redis.port);
      for (const [socket, peer] of [[outer, inner], [inner, outer]] as const) {
        sockets.add(socket);
        socket.on('data', (data) => { if (!isSilent) peer.write(data); }).on('error', () => peer.destroy()).on('close', () => peer.destroy());
      }
    }));
    left.push(() => sockets.forEach((socket) => socket.destroy()));
    const notified: string[] = [];
    await database.sql.listen(CHANNELS.jobs, (payload) => notified.push(payload));
    const [member, reader] = [await join('silent', `redis://127.0.0.1:${port}`), await join('silent')];
    isSilent = true;
    await wake(member, 'silence');
    await until('it is notified', () => notified.includes('silence'), 5_000);
    await until('it is noticed', () => member.logged.length === 1, 15_000);
    isSilent = false;
    await until('it is back', () => member.logged.length === 2, 15_000);
    expect(member.logged).toEqual([expect.stringContaining('is away'), expect.stringContaining('is back')]);
    // What came meanwhile was not heard here.
    expect(member.told).toContainEqual(['schedules', null]);
    await wake(member, 'again');
    await until('it carries again', () => reader.told.some(([, payload]) => payload === 'again'));
    expect(notified).not.toContain('again');
  });

  test('that cannot be used is told at the start, and never with its password', async () => {
    const password = 'hu%sh @:/secret';
    const [closed, withoutAuth] = await Promise.all([
      startRedis(program ?? '', { password, settings: ['--user', 'gateway', 'on', '>known', '+publish', '+subscribe', '&backup-gateway:*', '--user', 'stranger', 'on', '>known', '+publish', '+subscribe', '&elsewhere'] }),
      startRedis(program ?? '', { settings: ['--rename-command', 'AUTH', ''] }),
    ]);
    left.push(() => closed.stop(), () => withoutAuth.stop());
    const silent = await serve(createServer());
    const web = await serve(createWebServer((_request, response) => response.end('<p>')));
    const at = (port: number, word = '') => `redis://${word === '' ? '' : `:${encodeURIComponent(word)}@`}127.0.0.1:${port}`;
    const refusals: [url: string, reason: RegExp][] = [
      [at(closed.port, `${password}?`), /WRONGPASS/], [at(closed.port), /NOAUTH/], [`redis://stranger:known@127.0.0.1:${closed.port}`, /NOPERM/], [at(withoutAuth.port, password), /unknown command/],
      [`${at(redis.port)}/99`, /DB index/], [at(1), /ECONNREFUSED/], [at(web), /RESP type/], [at(silent, password), /does not answer/],
    ];
    await Promise.all(refusals.map(async ([url, reason]) => {
      const error = await join('refused', url).then(() => null, (refused: unknown) => refused);
      expect(error).toMatchObject({ code: 'WAKE_BUS_UNREACHABLE', message: expect.stringMatching(reason), hint: expect.stringContaining('WAKE_BUS_URL') });
      expect(inspect(error, { depth: null, showHidden: true })).not.toMatch(/hu%|@:|secret/);
    }));
    await expect(startGateway({ dataDir, env: { WAKE_BUS_URL: at(closed.port, 'wrong') } })).rejects.toMatchObject({ code: 'WAKE_BUS_UNREACHABLE' });

    const [writer, reader] = [await join('let in', closed.url), await join('let in', `redis://gateway:known@127.0.0.1:${closed.port}`)];
    await wake(writer, 'past the password');
    await until('it has come', () => reader.told.length > 0);
    expect(reader.told).toEqual([['jobs', 'past the password']]);
  });
});
