/** Two gateways, processes of their own, on one Postgres and behind one address: either is killed, and comes back. */
import { rm } from 'node:fs/promises';
import { createGatewayClient, type GatewayClient } from 'backup-gateway/client';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openGatewayDatabase, type TestDatabase } from '../support/database.ts';
import { readEvents } from '../support/event-stream.ts';
import { addBackup, changesInTable, endOfFeed, feedCursor, flip, positionOf, readChange, subscriptionTo, type Change } from '../support/feed.ts';
import { newDataDir, startGatewayProcess, until, type GatewayProcess } from '../support/gateway.ts';
import { changeOf, WATCH, type Event, type Watched } from '../support/watching.ts';
import { startWay } from '../support/way.ts';

let dataDir: string;
let database: TestDatabase;
let gateways: [GatewayProcess, GatewayProcess];
beforeAll(async () => {
  dataDir = await newDataDir();
  // First, so that no gateway takes the server with it.
  database = await openGatewayDatabase(dataDir);
  gateways = [await startGatewayProcess({ dataDir }), await startGatewayProcess({ dataDir })];
}, 60_000);
afterAll(async () => {
  for (const gateway of gateways ?? []) await gateway.stop();
  await database?.close();
  await rm(dataDir, { recursive: true, force: true, maxRetries: 5, retryDelay: 50 });
});

/** SIGKILL. @returns how it is started again, at the same address */
async function kill(nth: 0 | 1): Promise<() => Promise<void>> {
  const { port } = new URL(gateways[nth].url);
  await gateways[nth].kill();
  return async () => { gateways[nth] = await startGatewayProcess({ dataDir, env: { PORT: port } }); };
}

test('F18 F20 whichever of two gateways is killed, every watch gets every change once and in order', async () => {
  const way = await startWay(gateways[0].url, gateways[1].url);
  const clients: GatewayClient[] = [];
  try {
    const [one, two] = [await addBackup(database), await addBackup(database)];
    const after = await feedCursor(gateways[0]);
    const watches = [{ after }, { after }, { after, id: one.id }, { after, id: two.id }, {}, {}].map((variables) => {
      // Each has a socket of its own: the balancer spreads them.
      const client = createGatewayClient({ url: way.url, token: gateways[0].token });
      clients.push(client);
      const watch = { variables, events: [] as Event[], losses: 0, caughtUp: 0, ended: Promise.resolve() };
      watch.ended = (async () => {
        const options = { onLost: () => { watch.losses += 1; }, onCaughtUp: () => { watch.caughtUp += 1; } };
        for await (const event of client.watch<Watched>(WATCH, variables, options)) watch.events.push(event);
      })();
      return watch;
    });
    await until('all have begun', () => watches.every(({ caughtUp }) => caughtUp > 0));

    let isChanging = true;
    const changing = (async () => {
      for (let nth = 0; isChanging; nth += 1) await flip(database, (nth % 2 === 0 ? one : two).number, 10, { together: nth % 3 === 0 });
    })();
    for (const nth of [0, 1, 0] as const) {
      const had = watches.map(({ events }) => events.length);
      await until('all are in the midst of it', () => watches.every(({ events }, index) => events.length > had[index]!));
      const startAgain = await kill(nth);
      // The other one serves alone for a while.
      const then = watches.map(({ events }) => events.length);
      await until('all go on at the other', () => watches.every(({ events }, index) => events.length > then[index]!));
      await startAgain();
    }
    isChanging = false;
    await changing;

    const expected = await changesInTable(database, 'BACKUP', positionOf(after));
    const wanted = watches.map(({ variables: { id } }) => expected.filter(({ record }) => id === undefined || record === id));
    await until('everything has come', () => watches.every(({ events }, nth) => events.length >= wanted[nth]!.length));
    for (const client of clients) client.dispose();
    await Promise.all(watches.map(({ ended }) => ended));
    for (const [nth, { events }] of watches.entries()) expect(events.map(changeOf), `watch ${nth}`).toEqual(wanted[nth]);
    for (const { losses } of watches) expect(losses).toBeGreaterThan(0);
    expect(expected.length).toBeGreaterThan(100);
  } finally {
    for (const client of clients) client.dispose();
    await way.close();
  }
}, 60_000);

test('F14 F18 Server-Sent Events go on after the last cursor, at another gateway and at the killed one when it is back', async () => {
  const backup = await addBackup(database);
  let cursor = await feedCursor(gateways[0]);
  const start = positionOf(cursor);
  const got: Change[] = [];
  const ending = new AbortController();
  /** Reads until so many have come; what comes after that and before the end counts, too. */
  const read = async (gateway: GatewayProcess, wanted: number, onWanted: () => void) => {
    const before = got.length;
    try {
      for await (const payload of readEvents(gateway, subscriptionTo('BACKUP'), { after: cursor, id: backup.id }, ending.signal)) {
        const { cursor: reached, ...change } = readChange({ id: '', type: 'next', payload });
        got.push(change);
        cursor = reached;
        if (got.length - before === wanted) onWanted();
      }
    } catch (error) {
      if (got.length - before < wanted) throw error;
    }
  };
  const readAndKill = async (nth: 0 | 1) => {
    const killed: ReturnType<typeof kill>[] = [];
    await read(gateways[nth], 20, () => { killed.push(kill(nth)); });
    return killed[0]!;
  };
  const changing = flip(database, backup.number, 400, { together: false });
  const startFirst = await readAndKill(0);
  const starting = startFirst();
  const startSecond = await readAndKill(1);
  await Promise.all([starting, startSecond(), changing]);
  await flip(database, backup.number, 5);
  await read(gateways[0], await endOfFeed(database) - positionOf(cursor), () => ending.abort());
  expect(got).toEqual(await changesInTable(database, 'BACKUP', start));
}, 60_000);
