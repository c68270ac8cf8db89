import { createGatewayClient, type GatewayClient } from 'backup-gateway/client';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { openGatewayDatabase, type TestDatabase } from '../support/database.ts';
import { addBackup, changesInTable, endOfFeed, feedCursor, flip, positionOf } from '../support/feed.ts';
import { startGateway, until, type TestGateway } from '../support/gateway.ts';
import { changeOf, WATCH, type Event, type Watched } from '../support/watching.ts';
import { startWay, type Way } from '../support/way.ts';

let gateway: TestGateway;
let database: TestDatabase;
const clients: GatewayClient[] = [];
const ways: Way[] = [];
beforeAll(async () => {
  gateway = await startGateway();
  database = await openGatewayDatabase(gateway.dataDir);
});
afterEach(async () => {
  for (const client of clients.splice(0)) client.dispose();
  for (const way of ways.splice(0)) await way.close();
});
afterAll(async () => {
  await database?.close();
  await gateway?.stop();
});

/** A client by a way that can be cut. */
async function clientByWay(): Promise<{ client: GatewayClient; way: Way }> {
  const way = await startWay(gateway.url);
  const client = createGatewayClient({ url: way.url, token: gateway.token });
  ways.push(way);
  clients.push(client);
  return { client, way };
}

test('a connection cut 200 times, at any moment, loses and repeats nothing', async () => {
  const { client, way } = await clientByWay();
  const backups = await Promise.all(Array.from({ length: 3 }, () => addBackup(database)));
  const [{ id = '' } = {}] = backups;
  const after = await feedCursor(gateway);
  const [all, one, late]: [Event[], Event[], Event[]] = [[], [], []];
  const losses = { before: 0, between: 0 };
  let caughtUp = 0;
  const collect = async (events: Event[], variables: { id?: string; after?: string }, onLost?: () => void) => {
    for await (const event of client.watch<Watched>(WATCH, variables, { onLost, onCaughtUp: () => { caughtUp += 1; } })) events.push(event);
  };
  let atLastLoss = 0;
  const watching = [
    collect(all, { after }, () => {
      losses[all.length === atLastLoss ? 'before' : 'between'] += 1;
      atLastLoss = all.length;
    }),
    collect(one, { id, after }),
    // Begins at the present: the status that it states at first is stated once, whatever happens.
    collect(late, { id }),
  ];
  await until('all have begun', () => caughtUp >= 3);

  let isCutting = true;
  const changing = (async () => {
    while (isCutting) {
      const { number } = backups[Math.floor(Math.random() * backups.length)] ?? { number: 0 };
      await flip(database, number, 1 + Math.floor(Math.random() * 20), { together: Math.random() < 0.5 });
    }
  })();
  let cuts = 0;
  while (cuts < 200) {
    const had = all.length;
    await until('there is something to cut', () => way.open > 0);
    // Half of them at any moment, be it before anything has come; half in the midst of a stream.
    if (cuts % 2 === 0) await until('something has come', () => all.length > had);
    await new Promise((resolve) => setTimeout(resolve, Math.random() * 20));
    cuts += way.cut();
  }
  isCutting = false;
  await changing;

  const expected = await changesInTable(database, 'BACKUP', positionOf(after));
  const ofOne = expected.filter(({ record }) => record === id);
  await until('the last changes have come', () => all.length >= expected.length && one.length >= ofOne.length && late.length >= ofOne.length + 1);
  client.dispose();
  await Promise.all(watching);
  expect(all.map(changeOf)).toEqual(expected);
  expect(one.map(changeOf)).toEqual(ofOne);
  expect(late[0]).toMatchObject({ from: 'SUCCESS', to: 'SUCCESS' });
  expect(late.slice(1).map(changeOf)).toEqual(ofOne);
  expect(losses.between).toBeGreaterThan(50);
  expect(losses.before).toBeGreaterThan(10);
}, 120_000);

test('it says that it has caught up once everything before has been handled, before the first live change', async () => {
  const { client, way } = await clientByWay();
  const backup = await addBackup(database);
  const after = await feedCursor(gateway);
  await flip(database, backup.number, 300);
  const end = await endOfFeed(database);
  const log: (number | 'caught up')[] = [];
  const watching = (async () => {
    for await (const { cursor } of client.watch<Watched>(WATCH, { after }, { onCaughtUp: () => { log.push('caught up'); } })) {
      // A reader that takes its time.
      await new Promise((resolve) => setImmediate(resolve));
      log.push(positionOf(cursor));
    }
  })();
  await until('it is told', () => log.includes('caught up'));
  await flip(database, backup.number, 1);
  await until('the live change has come', () => log.length === 302);
  expect(log.indexOf('caught up')).toBe(300);
  expect(log[299]).toBe(end);
  way.cut();
  await until('it is told again', () => log.length === 303);
  expect(log.at(-1)).toBe('caught up');
  client.dispose();
  await watching;
});
