/**
 * How many status changes a second the database takes, each a transaction of its own, from many sessions at once: with the
 * lock that puts commits in order and with NOTIFY, with a wake-up bus in its place, and without one or both of them, so that
 * it shows which is the limit.
 */
import { availableParallelism } from 'node:os';
import type postgres from 'postgres';
import { openDatabase, postgresClient } from '../src/db/client.ts';
import { startWakeBus } from '../src/db/wake-bus.ts';
import { isWake, readWake, WAKES_AS_NOTICES, type Wake } from '../src/db/wakes.ts';
import { openGatewayDatabase, type TestDatabase } from '../test/support/database.ts';
import { startGatewayProcess } from '../test/support/gateway.ts';
import { plantBackups, plantStore } from '../test/support/records.ts';
import { findRedis, startRedis } from '../test/support/redis.ts';
import { nodeOptions } from './gateway.ts';
import { printTable, quantile } from './table.ts';

const BUS = 'lock and a Redis as the wake-up bus';
const WAKE = /\n\s*perform wake\([^;]*;/;

/** What is left out of the trigger's function, by its source text. */
const VARIANTS: Record<string, RegExp[]> = {
  'lock and NOTIFY, as it is': [],
  [BUS]: [],
  'without NOTIFY': [WAKE],
  'without the lock, and so without order': [/\n\s*perform pg_advisory_xact_lock\([^;]*;/],
  'without both': [WAKE, /\n\s*perform pg_advisory_xact_lock\([^;]*;/],
};

/** Commits a change, and answers once it is. */
interface Session { change(id: number): Promise<void>; end(): Promise<void> }

const changeBy = (sql: postgres.Sql, id: number) => sql`update backups set status = case status when 'SUCCESS' then 'MISSING' else 'SUCCESS' end where id = ${id}`;

function openSessions(database: TestDatabase, count: number): Session[] {
  return Array.from({ length: count }, () => {
    const sql = database.session();
    return { change: async (id) => void await changeBy(sql, id), end: () => sql.end() };
  });
}

/** Sessions of one process that publishes by the bus what they commit, as a gateway does. */
async function openBusSessions(database: TestDatabase, url: string, count: number): Promise<Session[]> {
  const [feed] = await database.sql<{ id: string }[]>`select id from feed`;
  const { db, close } = openDatabase(database.connection, { max: 1 });
  const silent = () => undefined;
  const bus = await startWakeBus(url, { id: feed?.id ?? '', db, listener: { tell: silent }, log: { info: silent, warn: silent } });
  const sessions = Array.from({ length: count }, (): Session => {
    const wakes: Wake[] = [];
    const sql = postgresClient(database.connection, { max: 1, connection: WAKES_AS_NOTICES, onnotice: (notice) => { if (isWake(notice)) wakes.push(readWake(notice)); } });
    return {
      async change(id) {
        await changeBy(sql, id);
        bus.publish(wakes.splice(0));
      },
      end: () => sql.end(),
    };
  });
  return [...sessions, { change: async () => undefined, end: () => bus.close().then(close) }];
}

export async function measureFeedRate({ seconds, sessions }: { seconds: number; sessions: number[] }): Promise<void> {
  const program = findRedis();
  const redis = program === null ? null : await startRedis(program);
  if (redis === null) console.log('The wake-up bus is left out: install redis-server.');
  const gateway = await startGatewayProcess({ env: { ...nodeOptions(), ...(redis === null ? {} : { WAKE_BUS_URL: redis.url }) } });
  const database = await openGatewayDatabase(gateway.dataDir);
  const { sql } = database;
  try {
    const store_id = await plantStore(sql);
    const most = Math.max(...sessions);
    const backups = await plantBackups(sql, Array.from({ length: most }, (_, n) => ({ name: `nightly-${n}`, store_id, host_id: 1, content_file_path: `/backups/nightly-${n}` })));
    const [{ source = '' } = {}] = await sql<{ source: string }[]>`select pg_get_functiondef('record_transition'::regproc) as source`;
    const open = openSessions(database, most);
    const openBus = redis === null ? [] : await openBusSessions(database, redis.url, most);
    const rows: (string | number)[][] = [];
    for (const [variant, omitted] of Object.entries(VARIANTS)) {
      if (variant === BUS && redis === null) continue;
      const sessionsOf = variant === BUS ? openBus : open;
      const changed = omitted.reduce((text, part) => text.replace(part, ''), source);
      if (omitted.length > 0 && changed === source) throw new Error('The function of the trigger is not written as expected.');
      await sql.unsafe(changed);
      for (const count of sessions) {
        const times: number[] = [];
        const end = performance.now() + seconds * 1000;
        await Promise.all(sessionsOf.slice(0, count).map(async (session, nth) => {
          while (performance.now() < end) {
            const began = performance.now();
            await session.change(backups[nth] ?? 0);
            times.push(performance.now() - began);
          }
        }));
        rows.push([variant, count, (times.length / seconds).toFixed(0), quantile(times, 0.5).toFixed(1), quantile(times, 0.99).toFixed(1)]);
      }
    }
    await sql.unsafe(source);
    await Promise.all([...open, ...openBus].map((session) => session.end()));
    printTable(`Status changes a second, on ${availableParallelism()} processors with a gateway that reads them`, ['', 'sessions', 'changes a second', 'commit, median ms', '99th percentile, ms'], rows);
  } finally {
    await database.close();
    await gateway.stop();
    await redis?.stop();
  }
}
