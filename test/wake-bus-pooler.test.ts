/**
 * The wake-up bus where a pooler stands in front of the database.
 */
import { rm } from 'node:fs/promises';
import { sql } from 'drizzle-orm';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openDatabase, postgresClient } from '../src/db/client.ts';
import { CHANNELS } from '../src/db/listener.ts';
import { migrate } from '../src/db/migrate.ts';
import { feedCursor, readChange, subscriptionTo } from './support/feed.ts';
import { newDataDir, startGateway, until, type TestGateway } from './support/gateway.ts';
import { findPgBouncer, startPgBouncer, type Pooler } from './support/pgbouncer.ts';
import { findServerPrograms, startPostgresServer, type PostgresServer } from './support/postgres-server.ts';
import { findRedis, startRedis, type RedisServer } from './support/redis.ts';
import { RawSocket } from './support/socket.ts';

const [program, bouncer, programs] = [findRedis(), findPgBouncer(), findServerPrograms()];
const without = [program === null ? 'redis-server' : null, bouncer === null ? 'pgbouncer' : null, programs === null ? 'postgresql' : null].filter((name) => name !== null);

describe.skipIf(without.length > 0)(`a wake-up bus beside a pooler${without.length > 0 ? ` (left out: install ${without.join(' and ')})` : ''}`, () => {
  let redis: RedisServer;
  let server: PostgresServer;
  let pooler: Pooler;
  let dataDir: string;
  const gateways: TestGateway[] = [];
  const direct = () => `postgres://gateway:gateway@127.0.0.1:${server.port}/gateway`;

  beforeAll(async () => {
    dataDir = await newDataDir();
    redis = await startRedis(program ?? '');
    server = await startPostgresServer(programs ?? '');
    server.sql('postgres', "create role gateway login createdb password 'gateway'");
    server.sql('postgres', 'create database gateway owner gateway');
    pooler = await startPgBouncer(bouncer ?? '', { port: server.port, user: 'gateway', password: 'gateway', control: 'gateway' }, { mode: 'transaction', size: 3 });
  });
  afterAll(async () => {
    for (const gateway of gateways) await gateway.stop();
    await pooler?.stop();
    await server?.stop();
    await redis?.stop();
    if (dataDir !== undefined) await rm(dataDir, { recursive: true, force: true });
  });

  test('carries what transactions change, and the pooler needs no setting for it', async () => {
    const start = async (): Promise<TestGateway> => {
      const gateway = await startGateway({ dataDir, env: { DATABASE_URL: pooler.url('gateway'), DATABASE_DIRECT_URL: direct(), WAKE_BUS_URL: redis.url } });
      gateways.push(gateway);
      return gateway;
    };
    const [one, other] = [await start(), await start()];
    const heard: string[] = [];
    const listening = postgresClient(direct(), { max: 1 });
    const socket = await RawSocket.open(other);
    try {
      for (const channel of [CHANNELS.feed, CHANNELS.jobs]) await listening.listen(channel, (payload) => heard.push(`${channel} ${payload}`));
      socket.start('watch', subscriptionTo('BACKUP'), { after: await feedCursor(other) });
      const began = performance.now();
      for (let n = 0; n < 4; n += 1) {
        const { data } = await one.query('mutation ($name: String!) { createBackup(input: { name: $name, type: CONFIG, configurationId: 1 }) { ... on CreateBackupPayload { backup { id } } ... on RuleViolations { message } } }', { name: `pooled-${n}` });
        expect(data.createBackup).toHaveProperty('backup.id');
        const { backup } = data.createBackup;
        for (const to of ['INITIALIZING', 'IN_PROGRESS', 'SUCCESS']) expect(readChange(await socket.next('watch'))).toMatchObject({ record: backup.id, to });
      }
      expect(performance.now() - began).toBeLessThan(8_000);
      await listening`select pg_notify(${CHANNELS.jobs}, 'last')`;
      await until('the last notification has come', () => heard.includes(`${CHANNELS.jobs} last`));
      expect(heard).toEqual([`${CHANNELS.jobs} last`]);
    } finally {
      socket.socket.terminate();
      await listening.end({ timeout: 1 });
    }
  });

  test('is done without where a pooler of sessions ignores the settings: Postgres notifies', async () => {
    const ignored = ['statement_timeout', 'idle_in_transaction_session_timeout', 'tcp_keepalives_idle', 'tcp_keepalives_interval', 'tcp_keepalives_count', 'tcp_user_timeout', 'backup_gateway.wake', 'client_min_messages'];
    const sessions = await startPgBouncer(bouncer ?? '', { port: server.port, user: 'gateway', password: 'gateway', control: 'gateway' }, { mode: 'session', size: 3, ignored });
    const told: unknown[] = [];
    const { db, close } = openDatabase(sessions.url('gateway'), { max: 1, onWakes: (wakes) => told.push(...wakes) });
    const listening = postgresClient(direct(), { max: 1 });
    try {
      await migrate(direct());
      const heard: string[] = [];
      await listening.listen(CHANNELS.progress, (payload) => heard.push(payload));
      await db.execute(sql`select wake(${CHANNELS.progress}, 'past the bus')`);
      await until('it is notified', () => heard.includes('past the bus'));
      expect(told).toEqual([]);
    } finally {
      await listening.end({ timeout: 1 });
      await close();
      await sessions.stop();
    }
  });
});
