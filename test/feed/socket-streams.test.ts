/**
 * Subscriptions of every form over a WebSocket: what FEED.md promises holds for those too that nobody shares, and for
 * `jobProgressed`.
 */
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { createGatewayClient } from 'backup-gateway/client';
import { openGatewayDatabase, type TestDatabase } from '../support/database.ts';
import { addBackup, changesInTable, endOfFeed, feedCursor, flip, positionOf, readUntil } from '../support/feed.ts';
import { startGateway, until, type TestGateway } from '../support/gateway.ts';
import { clientsLetGo } from '../support/metrics.ts';
import { RawSocket } from '../support/socket.ts';

let gateway: TestGateway;
let database: TestDatabase;
const sockets: RawSocket[] = [];

beforeAll(async () => {
  gateway = await startGateway();
  database = await openGatewayDatabase(gateway.dataDir);
});
afterEach(() => {
  for (const { socket } of sockets.splice(0)) socket.terminate();
});
afterAll(async () => {
  await database?.close();
  await gateway?.stop();
});

async function open(): Promise<RawSocket> {
  const socket = await RawSocket.open(gateway);
  sockets.push(socket);
  return socket;
}

/** What an operation is sent, in its order: the types of its messages, and "live". */
function orderOf({ socket }: RawSocket, id: string): string[] {
  const order: string[] = [];
  socket.on('message', (data: Buffer) => {
    const { id: of, type, payload } = JSON.parse(data.toString());
    if (of === id) order.push(type);
    else if (payload?.live === id) order.push('live');
  });
  return order;
}

const FIELDS = 'cursor record: backupId from to at';
/** Forms of one subscription; `many` stands for fields that make its events long. */
const FORMS: Record<string, (many?: string) => string> = {
  'a fragment at its root': (many = '') => `subscription ($id: ID, $after: String) { ...F } fragment F on Subscription { change: backupStatusChanged(id: $id, after: $after) { ${many} ${FIELDS} } }`,
  'an inline fragment': (many = '') => `subscription ($id: ID, $after: String) { ... { change: backupStatusChanged(id: $id, after: $after) { ${many} ${FIELDS} } } }`,
  'a directive': (many = '') => `subscription ($id: ID, $after: String) { change: backupStatusChanged(id: $id, after: $after) @skip(if: false) { ${many} ${FIELDS} } }`,
  'another operation beside it': (many = '') => `subscription Watch($id: ID, $after: String) { change: backupStatusChanged(id: $id, after: $after) { ${many} ${FIELDS} } } query Other { feedCursor }`,
};
const start = (socket: RawSocket, id: string, query: string, variables: object) => socket.socket.send(JSON.stringify({
  id, type: 'subscribe', payload: { query, variables, operationName: query.includes('Watch') ? 'Watch' : undefined },
}));

/** A job that no worker runs for a quarter of a minute, with a message of 200 kB. */
async function addJob(): Promise<number> {
  const [job] = await database.sql<{ id: string }[]>`
    insert into jobs (deployment_id, host_id, job_id, operation, status, initiated_by, lease_until, epoch, messages)
    select d.id, h.id, 'j' || gen_random_uuid(), 'VERIFY', 'SUBMITTED', 'test', now() + interval '15 s', 1, array[repeat('m', 200000)]
    from deployments d, hosts h limit 1 returning id`;
  return Number(job?.id);
}
const endJob = async (id: number) => { await database.sql`update jobs set status = 'FAILED', time_ended = now() where id = ${id}`; };

describe('a subscription with', () => {
  test.for(Object.entries(FORMS))('%s F9 F10 has every change once, is told when it is live, and goes on', async ([, form]) => {
    const backup = await addBackup(database);
    const cursor = await feedCursor(gateway);
    await flip(database, backup.number, 30);
    const socket = await open();
    const order = orderOf(socket, 'watch');
    start(socket, 'watch', form(), { id: backup.id, after: cursor });
    await until('it is live', () => order.includes('live'), 5_000);
    await flip(database, backup.number, 2);
    const end = await endOfFeed(database);
    expect(await readUntil(socket, 'watch', end)).toEqual(await changesInTable(database, 'BACKUP', positionOf(cursor)));
    expect(order).toEqual([...Array.from({ length: 30 }, () => 'next'), 'live', 'next', 'next']);
  });
});

describe('jobProgressed', () => {
  test('F10 is told that it is live after the event that states the present, without a cursor', async () => {
    const id = await addJob();
    const socket = await open();
    const order = orderOf(socket, 'progress');
    const pings: unknown[] = [];
    socket.socket.on('message', (data: Buffer) => {
      const { type, payload } = JSON.parse(data.toString());
      if (type === 'ping') pings.push(payload);
    });
    socket.start('progress', 'subscription ($id: ID!) { jobProgressed(id: $id) { status progress { bytesDone } } }', { id });
    await socket.live('progress');
    await database.sql`update jobs set bytes_done = 7, bytes_total = 10 where id = ${id}`;
    await until('it has moved', () => order.length === 3, 4_000);
    await endJob(id);
    await until('it is complete', () => order.includes('complete'));
    expect(order).toEqual(['next', 'live', 'next', 'next', 'complete']);
    expect(pings).toEqual([{ live: 'progress' }]);
  });
});

test('F16 a client that stops reading is closed with 1013, whatever it subscribes to, and what waits for it is bounded', async () => {
  const backup = await addBackup(database);
  await database.sql`update backups set description = ${'d'.repeat(255)} where id = ${backup.number}`;
  const job = await addJob();
  const cursor = await feedCursor(gateway);
  const before = await clientsLetGo(gateway);
  const many = (field: string, count: number) => Array.from({ length: count }, (_, nth) => `f${nth}: ${field}`).join(' ');
  /** Each with how many events it would be sent. */
  const stuck: { socket: RawSocket; all: number }[] = [];
  const stop = async (count: number, all: number, query: string, variables: object) => {
    const socket = await open();
    socket.socket.pause();
    for (let nth = 0; nth < count; nth += 1) start(socket, `watch-${nth}`, query, variables);
    stuck.push({ socket, all });
  };
  for (const form of Object.values(FORMS)) await stop(10, 15_000, form(many('cursor', 30)), { id: backup.id, after: cursor });
  await flip(database, backup.number, 1_500);
  // What is looked up for each change is known to be long only when it has been.
  await stop(1, 1_500, `subscription ($after: String) { change: backupStatusChanged(after: $after) { cursor backup { ${many('description', 40)} } } }`, { after: cursor });
  await stop(100, 100, `subscription ($id: ID!) { jobProgressed(id: $id) { ${many('messages', 10)} } }`, { id: job });
  await until('all are let go', async () => await clientsLetGo(gateway) === before + stuck.length, 14_000);
  const ends = await Promise.all(stuck.map(async ({ socket, all }) => {
    let events = 0;
    socket.socket.on('message', (data: Buffer) => { if (data.includes('"type":"next"')) events += 1; });
    socket.socket.resume();
    return { code: await socket.closed, share: events / all };
  }));
  expect(ends.filter(({ code }) => code !== 1013)).toEqual([]);
  expect(ends.map(({ share }) => share).filter((share) => share === 0 || share > 0.7)).toEqual([]);
  const end = await endOfFeed(database);
  await endJob(job);
  // It comes back, reads, and has lost nothing.
  const back = await open();
  back.start('watch', FORMS['a directive']!(), { id: backup.id, after: cursor });
  expect(await readUntil(back, 'watch', end)).toEqual(await changesInTable(database, 'BACKUP', positionOf(cursor)));
});

test('F10 the client of this package is told that it has caught up, of a fragment and of jobProgressed too', async () => {
  const backup = await addBackup(database);
  const job = await addJob();
  const client = createGatewayClient({ url: gateway.url, token: gateway.token });
  const ending = new AbortController();
  const order: string[] = [];
  const watching = (async () => {
    for await (const { to } of client.watch<any>(FORMS['a fragment at its root']!(), { id: backup.id }, { signal: ending.signal, onCaughtUp: () => order.push('caught up') })) order.push(to);
  })();
  await until('it has caught up', () => order.includes('caught up'), 5_000);
  ending.abort();
  await watching;
  expect(order).toEqual(['SUCCESS', 'caught up']);
  const progress: string[] = [];
  for await (const { status } of client.watch<any>('subscription ($id: ID!) { jobProgressed(id: $id) { status } }', { id: String(job) }, {
    resume: false, onCaughtUp() {
      progress.push('caught up');
      void endJob(job);
    },
  })) progress.push(status);
  client.dispose();
  expect(progress).toEqual(['SUBMITTED', 'caught up', 'FAILED']);
});

test('F9 a client that reads is told all changes that are looked up, however many there are, in their order', async () => {
  const backup = await addBackup(database);
  const cursor = await feedCursor(gateway);
  await flip(database, backup.number, 1_000);
  const socket = await open();
  socket.start('watch', 'subscription ($id: ID, $after: String) { change: backupStatusChanged(id: $id, after: $after) { cursor record: backupId from to at backup { status } } }', { id: backup.id, after: cursor });
  expect(await readUntil(socket, 'watch', await endOfFeed(database))).toEqual(await changesInTable(database, 'BACKUP', positionOf(cursor)));
  await socket.live('watch');
});
