/**
 * What Prometheus is told. That the database is away is looked at beside `/readyz`, in transports.test.ts; the clients that
 * were let go, where they are: feed/shared.test.ts.
 */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openGatewayDatabase, type TestDatabase } from './support/database.ts';
import { addBackup, endOfFeed, feedCursor, flip, positionOf } from './support/feed.ts';
import { startGateway, until, type TestGateway } from './support/gateway.ts';
import { metricsOf } from './support/metrics.ts';
import { RawSocket } from './support/socket.ts';

let gateway: TestGateway;
let database: TestDatabase;
beforeAll(async () => {
  gateway = await startGateway();
  database = await openGatewayDatabase(gateway.dataDir);
});
afterAll(async () => {
  await database?.close();
  await gateway?.stop();
});

test('metrics need a token', async () => {
  const response = await fetch(`${gateway.url}/metrics`);
  expect([response.status, await response.json()]).toEqual([401, { message: expect.stringContaining('A token is needed') }]);
});

test('metrics count the records by their status, and forget a status that no record has any more', async () => {
  expect((await metricsOf(gateway)).filter(([name]) => name.startsWith('backup_gateway_backups'))).toEqual([]);
  const backup = await addBackup(database);
  const completed = new Date('2026-03-01T12:00:00Z');
  await database.sql`update backups set time_completed = ${completed.toISOString()}, host_id = (select min(id) from hosts) where id = ${backup.number}`;
  const [{ type, hostname } = {}] = await database.sql<{ type: string; hostname: string }[]>`select b.type, h.hostname from backups b join hosts h on h.id = b.host_id where b.id = ${backup.number}`;
  const counted = new Map(await metricsOf(gateway));
  expect(counted.get(`backup_gateway_backups{type="${type}",status="SUCCESS"}`)).toBe(1);
  expect(counted.get(`backup_gateway_last_success_timestamp_seconds{host="${hostname}",type="${type}"}`)).toBe(completed.getTime() / 1_000);
  await flip(database, backup.number, 1);
  const changed = new Map(await metricsOf(gateway));
  expect(changed.get(`backup_gateway_backups{type="${type}",status="MISSING"}`)).toBe(1);
  expect([...changed.keys()].filter((name) => name.includes('SUCCESS') || name.includes('last_success'))).toEqual([]);
});

test('metrics tell how far the feed is, what this gateway has handed on, and to how many', async () => {
  const socket = await RawSocket.open(gateway);
  socket.start('watch', 'subscription { jobStatusChanged { to } }');
  await socket.live('watch');
  const backup = await addBackup(database);
  await flip(database, backup.number, 3);
  const end = await endOfFeed(database);
  const figures = await until('the gateway has read it', async () => {
    const now = new Map(await metricsOf(gateway));
    return now.get('backup_gateway_feed_read_position') === end ? now : null;
  });
  expect(figures.get('backup_gateway_feed_end_position')).toBe(end);
  expect(positionOf(await feedCursor(gateway))).toBe(end);
  expect(figures.get('backup_gateway_feed_floor_position')).toBe(0);
  expect([figures.get('backup_gateway_feed_followers'), figures.get('backup_gateway_websockets')]).toEqual([1, 1]);
  expect([figures.get('backup_gateway_database_up'), figures.get('backup_gateway_database_listening')]).toEqual([1, 1]);
  expect(figures.get('backup_gateway_clients_let_go_total')).toBe(0);
  expect(figures.get('process_resident_memory_bytes')).toBeGreaterThan(10_000_000);
  socket.socket.terminate();
  await until('it has gone', async () => new Map(await metricsOf(gateway)).get('backup_gateway_websockets') === 0);
});
